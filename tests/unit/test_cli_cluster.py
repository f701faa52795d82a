from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oomtracer.cli import cluster
from oomtracer.cli.cluster import ClusterFlags, MarkingFlags, cluster_of
from oomtracer.cli.unmark import to_unmark
from oomtracer.config import KeyValue, KubernetesMode, MarkOn, PodMetrics, Rate
from oomtracer.errors import UsageError
from oomtracer.unmark import UnmarkRequest, Wanted

FLAGS = ClusterFlags(
    kubernetes=KubernetesMode.AUTO,
    node_name="node-a",
    kubeconfig="",
    context="",
    events=True,
    pod_metrics=PodMetrics.ALL,
    qps=5.0,
    burst=10,
    start_jitter="10s",
    pod_name="",
    pod_namespace="",
)
MARKING = MarkingFlags(
    victim_annotation="",
    victim_label="",
    mark_on=MarkOn.NODE,
    mark_jobs=False,
    protect_namespace=["kube-system"],
    opt_out_annotation="oomtracer/ignore",
    mark_max_age="15m",
    mark_min_pod_age="10m",
    mark_budget="1/10m",
    mark_cooldown="30m",
    require_admission_policy=False,
)


class Place:
    """Where the program runs, as far as it looks for a cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self._monkeypatch = monkeypatch
        self._home = home
        monkeypatch.setenv("HOME", str(home))
        for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
            monkeypatch.delenv(name, raising=False)

    def with_personal_kubeconfig(self) -> None:
        """Somebody who works here has one."""
        (self._home / ".kube").mkdir()
        (self._home / ".kube/config").write_text("{}")

    def with_kubeconfig_variable(self) -> str:
        """The environment names one."""
        path = self._home / "given"
        path.write_text("{}")
        self._monkeypatch.setenv("KUBECONFIG", str(path))
        return str(path)

    def in_pod(self, namespace: str = "oomtracer") -> None:
        """It is a pod with a service account."""
        (self._home / "namespace").write_text(namespace)
        self._monkeypatch.setattr(cluster, "NAMESPACE_FILE", self._home / "namespace")
        self._monkeypatch.setattr(cluster, "configuration_source", lambda given: given or "in-cluster")


@pytest.fixture
def place(monkeypatch, tmp_path) -> Place:
    """A host without a cluster."""
    return Place(monkeypatch, tmp_path)


def test_a_plain_host_has_no_cluster(place):
    """Without kubeconfig and service account nothing of a cluster is wanted."""
    assert cluster_of(FLAGS, MARKING) is None


@pytest.mark.parametrize("node_name", ["", "node-a"])
def test_a_kubeconfig_that_was_given_is_used(place, node_name):
    """The flag says it all."""
    found = cluster_of(replace(FLAGS, kubeconfig="/some/file", node_name=node_name), MARKING)
    assert found.kubeconfig == "/some/file"


def test_the_variable_counts_like_the_flag(place):
    """KUBECONFIG is as deliberate as --kubeconfig."""
    place.with_kubeconfig_variable()
    assert cluster_of(replace(FLAGS, node_name=""), MARKING) is not None


def test_a_personal_kubeconfig_needs_the_name_of_the_node(place):
    """An administrator's laptop is no node of the cluster that it manages."""
    place.with_personal_kubeconfig()
    assert cluster_of(replace(FLAGS, node_name=""), MARKING) is None
    assert cluster_of(FLAGS, MARKING) is not None
    on = replace(FLAGS, node_name="", kubernetes=KubernetesMode.ON)
    assert cluster_of(on, MARKING) is not None


def test_off_is_off(place):
    """Whatever there is, it is not used."""
    place.with_kubeconfig_variable()
    assert cluster_of(replace(FLAGS, kubernetes=KubernetesMode.OFF, kubeconfig="/x"), MARKING) is None


def test_on_demands_a_cluster(place):
    """Where there is none the command line is wrong."""
    with pytest.raises(UsageError, match="--kubernetes=on"):
        cluster_of(replace(FLAGS, kubernetes=KubernetesMode.ON), MARKING)


def test_a_mark_demands_a_cluster(place):
    """A mark that cannot be made is not left out in silence."""
    with pytest.raises(UsageError, match="no cluster"):
        cluster_of(FLAGS, replace(MARKING, victim_label="a=b"))


def test_a_pod_is_told_its_node(place):
    """The host name of a pod is not its node's."""
    place.in_pod()
    with pytest.raises(UsageError, match="host name is the pod's"):
        cluster_of(replace(FLAGS, node_name=""), MARKING)
    assert cluster_of(FLAGS, MARKING).kubeconfig is None


def test_an_opt_out_may_be_the_descheduler_s_own(place):
    """What must not be a mark may well be a wish to be left alone."""
    key = "descheduler.alpha.kubernetes.io/prefer-no-eviction"
    found = cluster_of(replace(FLAGS, kubeconfig="/x"), replace(MARKING, opt_out_annotation=key))
    assert found.marking.opt_out_annotation == key


def test_the_agent_s_own_namespace_is_protected(place):
    """It comes from the service account, or from the flag, and is added to any list."""
    place.in_pod("monitoring")
    found = cluster_of(FLAGS, replace(MARKING, protect_namespace=["a", "b, c"]))
    assert found.marking.protected_namespaces == {"a", "b", "c", "monitoring"}
    found = cluster_of(replace(FLAGS, pod_namespace="mine"), MARKING)
    assert found.marking.protected_namespaces == {"kube-system", "mine"}


def test_the_values_arrive(place):
    """Every flag about marking ends in the configuration."""
    marking = replace(
        MARKING,
        victim_annotation="oom-tracer.alpha.kubernetes.io/evict-me=yes",
        victim_label="oomtracer/victim=true",
        mark_on=MarkOn.ANY,
        mark_jobs=True,
        mark_budget="3/1h",
        mark_cooldown="0",
    )
    flags = replace(FLAGS, kubeconfig="/x", context="prod", start_jitter="0", events=False)
    found = cluster_of(flags, marking)
    assert found.marking.annotation == KeyValue("oom-tracer.alpha.kubernetes.io/evict-me", "yes")
    assert found.marking.label == KeyValue("oomtracer/victim", "true")
    assert (found.marking.mark_on, found.marking.mark_jobs) == (MarkOn.ANY, True)
    assert (found.marking.budget, found.marking.cooldown_s) == (Rate(3, 3600.0), 0.0)
    assert (found.marking.max_age_s, found.marking.min_pod_age_s) == (900.0, 600.0)
    assert (found.context, found.start_jitter_s, found.events) == ("prod", 0.0, False)
    assert not found.marking.is_dry_run


@pytest.mark.parametrize(
    ("flags", "marking", "told"),
    [
        ({}, {"mark_max_age": "soon"}, "--mark-max-age"),
        ({}, {"mark_min_pod_age": "1"}, "--mark-min-pod-age"),
        ({}, {"mark_budget": "10m"}, "--mark-budget"),
        ({}, {"mark_cooldown": "x"}, "--mark-cooldown"),
        ({}, {"protect_namespace": ["Kube"]}, "--protect-namespace"),
        ({}, {"opt_out_annotation": "a b"}, "--opt-out-annotation"),
        ({}, {"victim_annotation": "oomtracer/ignore=x"}, "opts a pod out"),
        ({}, {"victim_annotation": "k=v", "require_admission_policy": True}, "--require-admission-policy"),
        (
            {"pod_name": "oomtracer-x2x4v"},
            {"victim_annotation": "k=v", "require_admission_policy": True},
            "--require-admission-policy",
        ),
        ({"node_name": "NODE-A"}, {}, "--node-name"),
        ({"node_name": "node-a,metadata.namespace!=shop"}, {}, "--node-name"),
        ({"node_name": "node-\u00e4"}, {}, "--node-name"),
        ({"node_name": "n" * 254}, {}, "--node-name"),
        ({"start_jitter": "-1s"}, {}, "--start-jitter"),
        ({"qps": 0.0}, {}, "--qps"),
        ({"qps": float("nan")}, {}, "--qps"),
        ({"burst": 0}, {}, "--burst"),
    ],
)
def test_what_cannot_be_right_is_told_with_its_flag(place, flags, marking, told):
    """Each error names the flag, before anything is started."""
    with pytest.raises(UsageError, match=told) as error:
        cluster_of(replace(FLAGS, kubeconfig="/x", **flags), replace(MARKING, **marking))
    assert error.value.hint


def unmark(**changes):
    """Ask for an unmark of one annotation on one node."""
    plain = {
        "annotation": "a/b",
        "label": "",
        "node_name": "node-a",
        "all_nodes": False,
        "namespace": "",
        "dry_run": False,
    }
    return to_unmark(**(plain | changes))


@pytest.mark.parametrize(
    ("changes", "request_"),
    [
        ({}, UnmarkRequest(annotation=Wanted("a/b"), node_name="node-a")),
        ({"annotation": "a/b=c"}, UnmarkRequest(annotation=Wanted("a/b", "c"), node_name="node-a")),
        (
            {"annotation": "", "label": "k=", "all_nodes": True, "node_name": ""},
            UnmarkRequest(label=Wanted("k", "")),
        ),
        (
            {"namespace": "shop", "dry_run": True},
            UnmarkRequest(annotation=Wanted("a/b"), node_name="node-a", namespace="shop", dry_run=True),
        ),
    ],
)
def test_unmark_takes_a_key_with_or_without_its_value(place, changes, request_):
    """A key alone means any value, a value means that one."""
    assert unmark(**changes) == request_


@pytest.mark.parametrize(
    "changes",
    [
        {"all_nodes": True},
        {"node_name": ""},
        {"namespace": "No"},
        {"annotation": "a b"},
        {"label": "-=x"},
        {"label": "app"},
        {"annotation": ""},
    ],
)
def test_an_unmark_that_cannot_be_right_is_refused(place, changes):
    """Nothing is removed by mistake."""
    with pytest.raises(UsageError):
        unmark(**changes)


@pytest.mark.parametrize("qps", [5e-324, 0.0, -1.0, float("inf"), 1e9])
def test_a_rate_that_is_none_is_refused(place, qps):
    """Neither next to nothing nor next to no limit is a rate."""
    with pytest.raises(UsageError, match="--qps"):
        cluster_of(replace(FLAGS, kubeconfig="/x", qps=qps), MARKING)

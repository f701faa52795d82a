"""Pods that are never marked, whatever happens to them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.cluster.kubelet import NODE, Kubelet
from tests.cluster.scene import ANNOTATION, Node, increase, patches, wait_for_event
from tests.kube.apiserver import make_static_pod

PREFER_NO_EVICTION = "descheduler.alpha.kubernetes.io/prefer-no-eviction"


@pytest.mark.parametrize(
    ("kind", "pod", "reason"),
    [
        ("daemonset", {"owner": ("DaemonSet", "node-exporter")}, "daemonset_pod"),
        ("job", {"owner": ("Job", "backup-29384")}, "job_pod"),
        ("bare", {"owner": None}, "bare_pod"),
        ("ignored", {"annotations": {"oomtracer/ignore": "true"}}, "opted_out"),
        ("settled", {"annotations": {PREFER_NO_EVICTION: "true"}}, "opted_out"),
        ("system", {"namespace": "kube-system"}, "protected_namespace"),
        ("critical", {"priority": 2_000_000_000}, "critical_priority"),
        ("marked", {"annotations": {ANNOTATION: "yes"}}, "annotation_exists"),
    ],
)
def test_a_pod_that_policy_excludes(
    quiet_node: Node, kubelet: Kubelet, kind: str, pod: dict[str, Any], reason: str
) -> None:
    """It is named in the report and counted, and the reason is told; no patch is sent."""
    api, agent = quiet_node.api, quiet_node.agent
    excluded = kubelet.start(api, f"{kind}-0", **pod)
    agent.wait_to_know(excluded)
    before = agent.page()
    workload = agent.report_of(kubelet.kill(excluded))["workload"]
    assert (workload["pod"], workload["container"], workload["resolved"]) == (excluded.name, "app", True)
    after = agent.page()
    assert increase(before, after, "marked_victims_total", stage="skipped", reason=reason) == 1
    assert increase(before, after, "pod_kills_total", **excluded.labels) == 1
    agent.wait_for(0, "pending_marks")
    assert not patches(api, excluded)


def test_a_static_pod(any_node: Node, kubelet: Kubelet) -> None:
    """Its cgroup has another uid than its object: it is named, described by kubectl, and not marked."""
    api, agent = any_node.api, any_node.agent
    config_hash = uuid.uuid4().hex
    static = kubelet.make_cgroups(config_hash, f"etcd-{NODE}", namespace="kube-system")
    mirror = api.add_pod(
        make_static_pod(
            "etcd", config_hash=config_hash, containers=["app"], container_ids={"app": static.container_id}
        )
    )
    agent.wait_to_know(static)
    before = agent.page()
    workload = agent.report_of(kubelet.kill(static))["workload"]
    assert mirror["metadata"]["uid"] != config_hash
    assert (workload["pod"], workload["pod_uid"]) == (static.name, config_hash)
    assert (workload["container"], workload["static"]) == ("app", True)
    # For a mirror pod kubectl asks for the uid in this annotation.
    uid = mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"]
    event = wait_for_event(api, static, uid=uid)
    assert event["involvedObject"]["fieldPath"] == "spec.containers{app}"
    assert "a static pod stays on its node (static_pod)" in event["message"]
    assert increase(before, agent.page(), "marked_victims_total", stage="skipped", reason="static_pod") == 1
    assert not patches(api, static)

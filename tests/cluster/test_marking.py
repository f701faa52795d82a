"""From a kill to the marked pod: the right one, for the right limit, told everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.kubelet import NODE, Kubelet
from tests.cluster.scene import (
    ANNOTATION,
    ANY_LIMIT,
    KILLED,
    LABEL,
    MARKED,
    MARKING,
    UNLIMITED,
    ClusterAgent,
    Node,
    annotations_of,
    described,
    fenced,
    increase,
    patches,
    value_of,
    wait_for_event,
    wait_for_mark,
)
from tests.kernel.conftest import MIB
from tests.kube.apiserver import EVENTS, OBSERVE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.kubelet import RunningPod
    from tests.kernel.agent import Report
    from tests.kube.apiserver import ThreadedApiServer

LIMITS_BYTES = {"container": 128 * MIB, "pod": 192 * MIB, "qos": 256 * MIB, "kubepods": 512 * MIB}
HIT_BYTES = 24 * MIB


@dataclass(frozen=True, slots=True)
class Case:
    """Whose limit is hit, and what is to come of it with ``--mark-on node``."""

    driver: str
    qos: str
    hit: str
    reason: str
    is_marked: bool
    words: str


CASES = [
    Case("cgroupfs", "burstable", "kubepods", "limit_above_pod", True, "the limit of all pods of the node"),
    Case("systemd", "burstable", "kubepods", "limit_above_pod", True, "the limit of all pods of the node"),
    Case(
        "cgroupfs",
        "besteffort",
        "qos",
        "limit_above_pod",
        True,
        "the limit of all pods of its QoS class on the node",
    ),
    Case("systemd", "guaranteed", "pod", "pod_limit_hit", False, "the pod's memory limit"),
    Case("cgroupfs", "guaranteed", "container", "container_limit_hit", False, "the container's memory limit"),
    Case("systemd", "burstable", "container", "container_limit_hit", False, "the container's memory limit"),
]


@pytest.fixture(scope="module")
def node(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose agent marks where moving the pod helps, as it does by default."""
    with fenced(tmp_path_factory.mktemp("node"), *MARKING, *UNLIMITED) as node:
        yield node


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.driver}-{case.qos}-{case.hit}")
def test_the_pod_that_moving_helps_is_marked(node: Node, kubelet: Kubelet, case: Case) -> None:
    """A kill at a limit above the pod marks that pod; one at its own limit is told, and marks nothing."""
    api, agent = node.api, node.agent
    name = f"{case.driver}-{case.qos}-{case.hit}"
    limits_bytes = LIMITS_BYTES | {case.hit: HIT_BYTES}
    bystander = kubelet.start(api, f"bystander-of-{name}", driver=case.driver, limits_bytes={})
    pod = kubelet.start(api, name, driver=case.driver, qos=case.qos, limits_bytes=limits_bytes)
    agent.wait_to_know(pod)
    before = agent.page()
    report = agent.report_of(kubelet.kill(pod))
    assert_reported(report, pod, case)
    assert_told(wait_for_event(api, pod), report, case)
    if case.is_marked:
        assert_marked(api, pod)
    else:
        assert not patches(api, pod)
        assert not described(api, pod, MARKED)
    sent = value_of(before, "kubernetes_events_total", result="sent") or 0.0
    agent.wait_for(sent + (2 if case.is_marked else 1), "kubernetes_events_total", result="sent")
    agent.wait_for(1, "admission_policy_enforced")
    assert_counted(before, agent.page(), pod, case)
    assert not patches(api, bystander)
    assert not described(api, bystander, KILLED)
    agent.wait_for(0, "pod_kills_total", **bystander.labels)


def assert_reported(report: Report, pod: RunningPod, case: Case) -> None:
    """The report has all names, and the limit that was hit."""
    named = {"namespace": pod.namespace, "pod": pod.name, "container": pod.container, "resolved": True}
    by_cgroup = {"kind": "pod", "pod_uid": pod.uid, "container_id": pod.container_id, "static": False}
    owner = {"owner": {"kind": "Deployment", "name": pod.name}}
    assert report["workload"] == report["workload"] | named | by_cgroup | owner
    assert report["trigger"]["workload"] == report["workload"]
    limit = report["limit"]
    assert (limit["owner"], limit["limit_bytes"], limit["certain"]) == (case.hit, HIT_BYTES, True)


def assert_told(event: dict[str, Any], report: Report, case: Case) -> None:
    """The Event says whose process it was, whose limit, and what was decided."""
    assert event["involvedObject"]["fieldPath"] == "spec.containers{app}"
    assert (event["type"], event["action"]) == ("Warning", "OOMKill")
    assert (event["reportingComponent"], event["reportingInstance"]) == ("oomtracer/agent", NODE)
    assert event["eventTime"] == report["time"]
    process = f'Process "victim" (pid {report["victim"]["pid"]} on the node, container "app")'
    cause = rf"{case.words} was reached \([\d.]+ MiB of 24\.0 MiB in use\)\."
    held = r"It held anon [\d.]+ MiB, file [\d.]+ \w+, shmem 0 B\."
    decision = "was chosen" if case.is_marked else "is not marked"
    assert re.fullmatch(
        rf"{re.escape(process)} was killed by the kernel's OOM killer: {cause} {held} "
        rf"The pod {decision} for eviction\b.* \({case.reason}\)[.;].*",
        event["message"],
    )


def assert_marked(api: ThreadedApiServer, pod: RunningPod) -> None:
    """The pod carries the mark by one patch that is for this pod alone, and an Event says so."""
    wait_for_mark(api, pod)
    [patch] = patches(api, pod)
    assert patch.json() == {"metadata": {"uid": pod.uid, "annotations": {ANNOTATION: "yes"}}}
    assert f"{ANNOTATION}=yes" in wait_for_event(api, pod, MARKED)["message"]


def assert_counted(before: str, after: str, pod: RunningPod, case: Case) -> None:
    """The metrics that are about this kill have grown by one."""
    assert value_of(after, "pod_kills_total", **pod.labels) == 1
    assert value_of(after, "silent_kills_total", **pod.labels) == 0
    assert increase(before, after, "kills_total", scope="memcg", limit_owner=case.hit) == 1
    marked = ("marked", "annotation_applied") if case.is_marked else ("skipped", case.reason)
    for name, (stage, reason), expected in (
        ("marked_victims_total", marked, 1),
        ("events_total", ("observed", "ebpf_capture"), 1),
        ("events_total", ("identified", "pod_identified"), case.is_marked),
        ("events_total", ("skipped", "non_or_ignored_global_oom"), not case.is_marked),
        ("events_total", ("error", "annotation_failed"), 0),
    ):
        assert increase(before, after, name, stage=stage, reason=reason) == expected, (stage, reason)


@pytest.mark.parametrize(("hit", "reason"), [("container", "container_limit"), ("pod", "pod_limit")])
def test_any_limit_marks_if_asked_for(quiet_node: Node, kubelet: Kubelet, hit: str, reason: str) -> None:
    """With --mark-on any the container's and the pod's own limit mark too: annotation and label in one patch."""
    api, agent = quiet_node.api, quiet_node.agent
    limits_bytes = {"container": LIMITS_BYTES["container"]} | {hit: HIT_BYTES}
    pod = kubelet.start(api, f"any-{hit}", limits_bytes=limits_bytes)
    agent.wait_to_know(pod)
    assert agent.report_of(kubelet.kill(pod))["limit"]["owner"] == hit
    agent.log.until(f" marking pod shop/any-{hit}: {reason}$")
    wait_for_mark(api, pod)
    [patch] = patches(api, pod)
    assert patch.json() == {
        "metadata": {"uid": pod.uid, "annotations": {ANNOTATION: "yes"}, "labels": {LABEL: "true"}}
    }


def test_by_default_one_pod_in_ten_minutes(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """With nothing but a mark configured, the second pod of the node that loses a process is left alone."""
    limits_bytes = {"kubepods": HIT_BYTES}
    first, second = (kubelet.start(api, name, limits_bytes=limits_bytes) for name in ("first", "second"))
    with ClusterAgent(api, tmp_path, *MARKING) as agent:
        kubelet.kill(first)
        wait_for_mark(api, first)
        kubelet.kill(second)
        agent.wait_for(1, "marked_victims_total", stage="skipped", reason="budget_spent")
        agent.wait_for(1, "marked_pods")
        assert agent.stop()[0] == 0
    assert len(patches(api)) == 1


def test_a_dry_run_only_tells(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """Without a mark nothing is ever patched; log, metric and Event say what would have been."""
    pod = kubelet.start(api, "dry", limits_bytes={"kubepods": HIT_BYTES})
    with ClusterAgent(api, tmp_path, *UNLIMITED) as agent:
        kubelet.kill(pod)
        agent.log.until(r"would mark pod shop/dry: limit_above_pod$")
        agent.wait_for(1, "marked_victims_total", stage="dry_run", reason="would_mark")
        message = wait_for_event(api, pod)["message"]
        assert "would be marked for eviction (limit_above_pod), but this is a dry run" in message
        assert agent.stop()[0] == 0
    assert not [request for request in api.requests if request.method == "PATCH"]
    assert ANNOTATION not in annotations_of(api, pod)
    assert not described(api, pod, MARKED)


def test_without_the_right_to_patch(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """Where the account may not patch pods that is final, said once and counted; names and Events go on."""
    api.grant(OBSERVE, EVENTS)
    pods = [kubelet.start(api, f"web-{number}") for number in range(2)]
    with ClusterAgent(api, tmp_path, *ANY_LIMIT) as agent:
        for pod in pods:
            assert agent.report_of(kubelet.kill(pod))["workload"]["pod"] == pod.name
        agent.wait_for(2, "marked_victims_total", stage="error", reason="forbidden")
        agent.wait_for(2, "events_total", stage="error", reason="annotation_failed")
        assert wait_for_event(api, pods[0])["involvedObject"]["name"] == "web-0"
        assert agent.stop()[0] == 0
        assert agent.log_to_the_end().count("this agent may not mark pods") == 1
    assert [patch.status for patch in patches(api)] == [403, 403]

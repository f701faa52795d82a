"""A pod is never marked, nor told, for what happened in another one of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import PREDECESSORS_UID, SUCCESSOR
from tests.cluster.kubelet import NAMESPACE, Kubelet, RunningPod
from tests.cluster.scene import (
    ANNOTATION,
    ANY_LIMIT,
    ClusterAgent,
    Node,
    annotations_of,
    increase,
    patches,
    value_of,
    wait_for_event,
    wait_gently,
)
from tests.kernel.agent import Agent, parse_report
from tests.kube.apiserver import End, Hang, make_pod

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube.apiserver import ThreadedApiServer


def replace(api: ThreadedApiServer, pod: RunningPod) -> None:
    """Delete a pod and create one of the same name, with another uid."""
    api.delete_pod(pod.namespace, pod.name)
    api.add_pod(make_pod(pod.name, namespace=pod.namespace))


def hold_back_news(api: ThreadedApiServer) -> None:
    """Let the agent hear nothing more of its pods; all else goes on."""
    api.fail(Hang(), method="GET")
    api.end_watches(End.CUT)
    api.until(lambda: not api.watches)


def test_a_successor_that_the_agent_has_not_heard_of(
    api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet
) -> None:
    """Replaced while the watch lags behind: the patch carries the old uid, is refused, and is final."""
    pod = kubelet.start(api, "web-0")
    with ClusterAgent(api, tmp_path, *ANY_LIMIT) as agent:
        hold_back_news(api)
        replace(api, pod)
        workload = agent.report_of(kubelet.kill(pod))["workload"]
        assert (workload["pod"], workload["pod_uid"], workload["resolved"]) == ("web-0", pod.uid, True)
        agent.wait_for(1, "marked_victims_total", stage="skipped", reason="pod_replaced")
        assert agent.stop()[0] == 0
    [patch] = patches(api, pod)
    assert (patch.status, patch.json()["metadata"]["uid"]) == (422, pod.uid)
    assert ANNOTATION not in annotations_of(api, pod)


def test_a_successor_that_the_agent_knows(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """A kill in the old pod's cgroup is told of the old pod, from memory; the new one is not touched."""
    pod = kubelet.start(api, "web-0")
    with ClusterAgent(api, tmp_path, *ANY_LIMIT) as agent:
        replace(api, pod)
        # What the watch tells later has been heard later.
        agent.wait_to_know(kubelet.start(api, "sentinel"))
        workload = agent.report_of(kubelet.kill(pod))["workload"]
        assert (workload["pod"], workload["pod_uid"], workload["resolved"]) == ("web-0", pod.uid, True)
        agent.wait_for(1, "marked_victims_total", stage="skipped", reason="terminating")
        assert wait_for_event(api, pod)["involvedObject"]["uid"] == pod.uid
        assert agent.stop()[0] == 0
    assert not patches(api)


@pytest.mark.parametrize("heard", [False, True])
def test_a_pod_deleted_after_the_kill(
    api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet, *, heard: bool
) -> None:
    """Deleted while its mark is on its way: named, and given up, whether the watch or a 404 tells."""
    pod = kubelet.start(api, "web-0")
    with ClusterAgent(api, tmp_path, *ANY_LIMIT) as agent:
        if not heard:
            hold_back_news(api)
        unavailable = api.fail(503, method="PATCH")
        assert agent.report_of(kubelet.kill(pod))["workload"]["pod"] == "web-0"
        api.until(lambda: unavailable.hits)
        api.delete_pod(pod.namespace, pod.name)
        if heard:
            agent.wait_for(0, "pods")
        unavailable.remove()
        agent.wait_for(1, "marked_victims_total", stage="skipped", reason="pod_gone")
        assert agent.stop()[0] == 0
    assert [patch.status for patch in patches(api) if patch.status != 503] == ([] if heard else [404])


@pytest.mark.parametrize("gone", [False, True])
def test_a_pod_deleted_before_the_kill(quiet_node: Node, kubelet: Kubelet, *, gone: bool) -> None:
    """Deleted, or about to be, when it loses a process: named from memory, and not marked."""
    api, agent = quiet_node.api, quiet_node.agent
    pod = kubelet.start(api, "gone-0" if gone else "going-0")
    agent.wait_to_know(pod)
    (api.delete_pod if gone else api.terminate_pod)(pod.namespace, pod.name)
    # What the watch tells later has been heard later.
    agent.wait_to_know(kubelet.start(api, f"after-{pod.name}"))
    before = agent.page()
    workload = agent.report_of(kubelet.kill(pod))["workload"]
    assert (workload["pod"], workload["container"], workload["resolved"]) == (pod.name, "app", True)
    agent.wait_for(1, "pod_kills_total", **pod.labels)
    assert increase(before, agent.page(), "marked_victims_total", stage="skipped", reason="terminating") == 1
    assert not patches(api, pod)


def test_a_successor_alone(any_node: Node) -> None:
    """A kill in the cgroup of a pod that the agent has never heard of is not told of its successor."""
    api, agent = any_node.api, any_node.agent
    workload = workload_of(agent, PREDECESSORS_UID)
    assert (workload["namespace"], workload["pod"], workload["container"]) == (None, None, None)
    assert (workload["owner"], workload["resolved"]) == (None, False)
    # Kills on the nodes of other tests are seen too, and no pod is found for them either; this one was the first.
    unmatched = {"stage": "skipped", "reason": "no_pod_match"}
    wait_gently(lambda: value_of(agent.page(), "events_total", **unmatched) != 0, "it is given up", 60)
    agent.wait_for(0, "pod_kills_total", namespace=NAMESPACE, pod=SUCCESSOR, container="app")
    assert not [request for request in api.requests if SUCCESSOR in request.path + str(request.body)]


def workload_of(agent: Agent, uid: str) -> dict[str, Any]:
    """The workload of the report of a kill in the pod of a uid, which may have been read already."""
    reports = map(parse_report, agent.reports.all)
    found = [report["workload"] for report in reports if report["workload"]["pod_uid"] == uid]
    while not found or found[-1]["pod_uid"] != uid:
        found.append(agent.report()["workload"])
    return dict(found[-1])

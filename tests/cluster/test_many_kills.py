"""Many pods at once, and kills that Kubernetes itself does not show."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.cluster.kubelet import Kubelet
from tests.cluster.scene import (
    ANY_LIMIT,
    KILLED,
    MARKED,
    ClusterAgent,
    Node,
    described,
    increase,
    patches,
    value_of,
    wait_for_event,
    wait_for_mark,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube.apiserver import ThreadedApiServer

PODS = 30


def test_thirty_pods_at_once(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """Each pod is marked once, by one patch, and told by its own Events, the last ones when the agent stops."""
    pods = [kubelet.start(api, f"web-{number}") for number in range(PODS)]
    with ClusterAgent(api, tmp_path, *ANY_LIMIT) as agent:
        with ExitStack() as stack:
            for killer in [stack.enter_context(kubelet.start_silent_kill(pod)) for pod in pods]:
                assert killer.wait(30) == 0
        reports = [agent.report() for _ in pods]
        assert {report["workload"]["pod_uid"] for report in reports} == {pod.uid for pod in pods}
        assert {report["init_died"] for report in reports} == {False}
        for pod in pods:
            wait_for_mark(api, pod)
        agent.wait_for(PODS, "marked_victims_total", stage="marked", reason="annotation_applied")
        agent.wait_for(PODS, "mark_latency_seconds_count")
        page = agent.page()
        assert [value_of(page, "pod_kills_total", **pod.labels) for pod in pods] == [1] * PODS
        assert [value_of(page, "silent_kills_total", **pod.labels) for pod in pods] == [1] * PODS
        assert agent.stop() == (0, [])
        assert f"kills observed: {PODS}, lost: none" in agent.log_to_the_end()
    for pod in pods:
        [patch] = patches(api, pod)
        assert (patch.status, patch.json()["metadata"]["uid"]) == (200, pod.uid)
        assert [len(described(api, pod, reason)) for reason in (KILLED, MARKED)] == [1, 1]
        assert "main process (PID 1) survived" in described(api, pod, KILLED)[0]["message"]
    assert len(patches(api)) == PODS
    assert len(api.events) == 2 * PODS


def test_the_main_process_of_a_container(any_node: Node, kubelet: Kubelet) -> None:
    """Where process 1 of the container is killed the Event says so, and the kill is not a silent one."""
    api, agent = any_node.api, any_node.agent
    pod = kubelet.start(api, "main-0")
    agent.wait_to_know(pod)
    kubelet.kill_process_one(pod)
    agent.wait_for(1, "pod_kills_total", **pod.labels)
    agent.wait_for(0, "silent_kills_total", **pod.labels)
    assert "It was the container's main process (PID 1)" in wait_for_event(api, pod)["message"]


def test_a_container_that_loses_one_process_after_the_other(any_node: Node, kubelet: Kubelet) -> None:
    """Five kills in one container: five reports, one mark, and one Event that may become a series."""
    api, agent = any_node.api, any_node.agent
    pod = kubelet.start(api, "crashing-0")
    agent.wait_to_know(pod)
    before = agent.page()
    pids = [kubelet.kill(pod) for _ in range(5)]
    assert [agent.report_of(pid)["workload"]["pod"] for pid in pids] == [pod.name] * 5
    agent.wait_for(5, "pod_kills_total", **pod.labels)
    wait_for_mark(api, pod)
    wait_for_event(api, pod)
    assert increase(before, agent.page(), "kills_total", scope="memcg", limit_owner="container") == 5
    assert len(patches(api, pod)) == 1
    assert len(described(api, pod, KILLED)) == 1

"""Names that come late, and names that lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.kubelet import NAMESPACE, Kubelet
from tests.cluster.scene import ANY_LIMIT, ClusterAgent, Node, wait_for_event, wait_for_mark
from tests.kube.apiserver import make_pod

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube.apiserver import ThreadedApiServer


@pytest.fixture
def agent(api: ThreadedApiServer, tmp_path: Path) -> ClusterAgent:
    """An agent of the test's own, to be entered."""
    return ClusterAgent(api, tmp_path, *ANY_LIMIT)


def test_a_container_that_nobody_knows_yet(
    agent: ClusterAgent, api: ThreadedApiServer, kubelet: Kubelet
) -> None:
    """Killed before the kubelet told its id: the pod is marked at once, the one report waits for the name."""
    containers = ("app", "sidecar")
    pod = kubelet.start(api, "new-0", containers=containers, phase="Pending")
    with agent:
        pid = kubelet.kill(pod)
        agent.wait_for(1, "waiting_for_names")
        wait_for_mark(api, pod)
        whole = make_pod(pod.name, namespace=NAMESPACE, uid=pod.uid, containers=containers)
        api.change_pod(NAMESPACE, pod.name, lambda known: known.update(status=whole["status"]))
        report = agent.report_of(pid)
        assert (report["workload"]["container"], report["workload"]["resolved"]) == ("app", True)
        agent.wait_for(0, "waiting_for_names")
        assert wait_for_event(api, pod)["involvedObject"]["fieldPath"] == "spec.containers{app}"
        assert agent.stop() == (0, [])


def test_a_pod_that_nobody_knows_yet(agent: ClusterAgent, api: ThreadedApiServer, kubelet: Kubelet) -> None:
    """Killed before the watch told of the pod: one report, with all names, and the mark."""
    with agent:
        pod = kubelet.make_cgroups("0c9ad1b2-3e4f-4a5b-8c6d-7e8f90a1b2c3", "new-0")
        pid = kubelet.kill(pod)
        agent.wait_for(1, "waiting_for_names")
        api.add_pod(make_pod(pod.name, namespace=NAMESPACE, uid=pod.uid))
        workload = agent.report_of(pid)["workload"]
        assert (workload["pod"], workload["container"], workload["resolved"]) == ("new-0", "app", True)
        wait_for_mark(api, pod)
        assert agent.stop() == (0, [])


@pytest.mark.parametrize(
    ("name", "escaped", "raw", "shown"),
    [
        ("control", r"\x0aevil\x1b[2J\xe2\x80\xae", "\nevil\x1b[2J\u202e", r"\x0aevil\x1b[2J\u202e"),
        ("quotes", r'evil"{} \x5cn', 'evil"{} \\n', 'evil"{} \\n'),
    ],
    ids=["control", "quotes"],
)
def test_a_hostile_process_name(
    any_node: Node, kubelet: Kubelet, name: str, escaped: str, raw: str, shown: str
) -> None:
    """What a process calls itself is escaped in the Event, and in no metric and no line of the log."""
    api, agent = any_node.api, any_node.agent
    pod = kubelet.start(api, f"hostile-{name}")
    agent.wait_to_know(pod)
    assert agent.report_of(kubelet.kill(pod, escaped))["victim"]["comm"] == raw
    assert agent.reports.all[-1].isprintable()
    note = wait_for_event(api, pod)["message"]
    assert note.startswith(f'Process "{shown}" (pid ')
    assert note.isprintable()
    assert "evil" not in agent.page()
    agent.log.until(rf"marked pod shop/hostile-{name}, ")
    assert "evil" not in "".join(agent.log.all)
    assert all(line.isprintable() for line in agent.log.all)

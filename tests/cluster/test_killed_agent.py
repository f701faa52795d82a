"""The agent killed while the API server is away or ill: the next one delivers what is owed, once."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.cluster.kubelet import Kubelet
from tests.cluster.scene import (
    ANY_LIMIT,
    KILLED,
    MARKED,
    MARKING,
    ClusterAgent,
    described,
    patches,
    wait_for_event,
    wait_for_mark,
)
from tests.kernel.kept import history, ids, kept_in
from tests.kube.apiserver import End

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.agent import Report
    from tests.kube.apiserver import ThreadedApiServer


def fall_ill(api: ThreadedApiServer, how: str) -> None:
    """Let every write fail from now on."""
    if how == "refuses":
        api.refuse()
        api.drop_connections(End.RESET)
    elif how == "hangs":
        api.freeze()
    else:
        for method in ("PATCH", "POST"):
            api.fail(500, method=method)


def heal(api: ThreadedApiServer, how: str) -> None:
    """The opposite."""
    {"refuses": api.reopen, "hangs": api.thaw, "answers 500": api.heal}[how]()


def kill_the_agent(agent: ClusterAgent) -> list[Report]:
    """Without any warning; what it has told and nobody has read."""
    agent.process.kill()
    agent.process.wait()
    reports = []
    for line in agent.reports.rest():
        with suppress(json.JSONDecodeError):
            reports.append(json.loads(line))
    return reports


@pytest.mark.parametrize("how", ["refuses", "hangs", "answers 500"])
def test_owed_over_two_lives(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet, how: str) -> None:
    """Two pods lose a process, the agent dies twice: each pod gets one mark and one Event of each kind."""
    flags = (*ANY_LIMIT, *kept_in(tmp_path / "state"))
    pods = [kubelet.start(api, f"web-{number}") for number in range(2)]
    with ClusterAgent(api, tmp_path, *flags) as agent:
        for pod in pods:
            agent.wait_to_know(pod)
        fall_ill(api, how)
        told = [agent.report_of(kubelet.kill(pod)) for pod in pods]
        agent.wait_for(2, "pending_marks")
        told += kill_the_agent(agent)
    with ClusterAgent(api, tmp_path, *flags, synced=how == "answers 500") as agent:
        agent.wait_for(2, "pending_marks" if how == "answers 500" else "waiting_for_names")
        told += kill_the_agent(agent)
    heal(api, how)
    with ClusterAgent(api, tmp_path, *flags) as agent:
        for pod in pods:
            wait_for_mark(api, pod)
            wait_for_event(api, pod)
            wait_for_event(api, pod, MARKED)
        code, rest = agent.stop()
        assert (code, rest) == (0, [])
    with ClusterAgent(api, tmp_path, *flags) as agent:
        assert agent.stop() == (0, [])
    for pod in pods:
        assert [len(described(api, pod, reason)) for reason in (KILLED, MARKED)] == [1, 1]
        assert [patch.status for patch in patches(api, pod) if patch.status == 200] == [200]
        assert described(api, pod, KILLED)[0].get("count", 1) in (None, 0, 1)
    assert set(ids(told).values()) == {1}
    assert ids(history(tmp_path / "state")) == ids(told)


def test_a_budget_holds_over_deaths(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """One mark in ten minutes, however often the agent dies in them."""
    flags = (*MARKING, "--mark-on", "any", "--mark-min-pod-age", "0", *kept_in(tmp_path / "state"))
    pods = [kubelet.start(api, f"web-{number}") for number in range(3)]
    for number, pod in enumerate(pods):
        with ClusterAgent(api, tmp_path, *flags) as agent:
            agent.wait_to_know(pod)
            agent.report_of(kubelet.kill(pod))
            if number == 0:
                wait_for_mark(api, pod)
                agent.wait_for(1, "marked_victims_total", stage="marked", reason="annotation_applied")
            else:
                agent.wait_for(1, "marked_victims_total", stage="skipped", reason="budget_spent")
            kill_the_agent(agent)
    assert [request.path for request in patches(api)] == [pods[0].path]


def test_one_pod_in_a_loop_costs_no_other_its_event(
    api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet
) -> None:
    """A pod that dies as fast as the machine can kill: each of the others has its own Event."""
    looping, *others = [kubelet.start(api, f"web-{number}") for number in range(6)]
    with ClusterAgent(api, tmp_path, *ANY_LIMIT, *kept_in(tmp_path / "state")) as agent:
        for pod in (looping, *others):
            agent.wait_to_know(pod)
        with kubelet.start_loop(looping, 300) as loop:
            killed = [kubelet.kill(pod) for pod in others]
            assert loop.wait(60) == 0
        for pod in others:
            assert wait_for_event(api, pod)["involvedObject"]["name"] == pod.name
        told = [agent.report() for _ in range(300 + len(killed))]
        assert {report["victim"]["pid"] for report in told} >= set(killed)
        assert agent.stop() == (0, [])
        assert "lost: none" in agent.log_to_the_end()

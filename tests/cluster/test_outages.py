"""The API server away, silent or stopped for good: kills are told all the same, and nothing is forgotten."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.kubelet import Kubelet
from tests.cluster.scene import (
    ANY_LIMIT,
    KILLED,
    MARKED,
    ClusterAgent,
    annotations_of,
    described,
    patches,
    wait_for_event,
    wait_for_mark,
)
from tests.kube.apiserver import End

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.agent import Report
    from tests.kube.apiserver import ThreadedApiServer

AWAY = ("refuse", "freeze")
# What a busy machine may add to a deadline of the agent's.
SLACK_S = 1.5
LATEST_S = 2.0
"""For a report that waits for names."""


@pytest.fixture
def agent(api: ThreadedApiServer, tmp_path: Path) -> ClusterAgent:
    """An agent of the test's own, to be entered; it is not expected to reach the API server."""
    return ClusterAgent(api, tmp_path, *ANY_LIMIT, synced=False)


def go_away(api: ThreadedApiServer, how: str) -> None:
    """Let the API server be unreachable, open connections included."""
    getattr(api, how)()
    if how == "refuse":
        api.drop_connections(End.RESET)


def come_back(api: ThreadedApiServer, how: str) -> None:
    """The opposite."""
    {"refuse": api.reopen, "freeze": api.thaw}[how]()


def told_after_s(report: Report) -> float:
    """How long after the kill the report was read, which is now."""
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return float(now_ns - report["boot_time_ns"]) / 1e9


def test_away_from_the_start(agent: ClusterAgent, api: ThreadedApiServer, kubelet: Kubelet) -> None:
    """The report goes out unnamed after two seconds; once the API server is back, mark and Event follow."""
    pod = kubelet.start(api, "web-0")
    api.refuse()
    with agent:
        report = agent.report_of(kubelet.kill(pod))
        assert LATEST_S <= told_after_s(report) < LATEST_S + SLACK_S
        assert (report["workload"]["pod_uid"], report["workload"]["container_id"]) == (
            pod.uid,
            pod.container_id,
        )
        assert (report["workload"]["pod"], report["workload"]["resolved"]) == (None, False)
        api.reopen()
        wait_for_mark(api, pod)
        assert report["time"] == wait_for_event(api, pod)["eventTime"]
        agent.wait_for(1, "pod_kills_total", **pod.labels)
        assert agent.stop() == (0, [])


@pytest.mark.parametrize("how", AWAY)
def test_away_at_the_time_of_the_kill(
    agent: ClusterAgent, api: ThreadedApiServer, kubelet: Kubelet, how: str
) -> None:
    """A pod known from before is named at once; mark and Event are delivered when the API server is back."""
    pod = kubelet.start(api, "web-0")
    with agent:
        agent.wait_to_know(pod)
        go_away(api, how)
        report = agent.report_of(kubelet.kill(pod))
        assert told_after_s(report) < SLACK_S
        assert (report["workload"]["pod"], report["workload"]["resolved"]) == ("web-0", True)
        agent.wait_for(1, "pending_marks")
        come_back(api, how)
        wait_for_mark(api, pod)
        wait_for_event(api, pod, MARKED)
        assert report["time"] == wait_for_event(api, pod)["eventTime"]
        assert agent.stop() == (0, [])
    assert [patch.status for patch in patches(api)] == [200]
    assert [len(described(api, pod, reason)) for reason in (KILLED, MARKED)] == [1, 1]


@pytest.mark.parametrize("how", AWAY)
def test_stopped_while_away(agent: ClusterAgent, api: ThreadedApiServer, kubelet: Kubelet, how: str) -> None:
    """Told to stop with marks on their way, the agent ends with 0 within seconds and says what is not delivered."""
    pods = [kubelet.start(api, f"web-{number}") for number in range(2)]
    with agent:
        for pod in pods:
            agent.wait_to_know(pod)
        go_away(api, how)
        for pod in pods:
            kubelet.kill(pod)
        agent.wait_for(2, "pending_marks")
        begun_s = time.monotonic()
        code, reports = agent.stop()
        assert time.monotonic() - begun_s < 10
        assert (code, len(reports)) == (0, 2)
        assert "stopping: 2 pending marks were not delivered" in agent.log_to_the_end()
    if how == "refuse":  # one that was frozen may do later what it was asked for
        assert not any(annotations_of(api, pod) for pod in pods)


def test_stopped_before_any_answer(agent: ClusterAgent, api: ThreadedApiServer, kubelet: Kubelet) -> None:
    """Stopped while a report waits for its names, the agent tells it as it is."""
    api.freeze()
    with agent:
        kubelet.kill(kubelet.make_cgroups("0c9ad1b2-3e4f-4a5b-8c6d-7e8f90a1b2c3", "web-0"))
        agent.wait_for(1, "waiting_for_names")
        code, [report] = agent.stop()
    assert code == 0
    assert not report["workload"]["resolved"]

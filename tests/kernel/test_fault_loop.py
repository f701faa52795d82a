"""A pod that dies as fast as the machine can kill, beside others that lose one process: none of theirs is lost."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.kept import SERVED, history, kept_in, pids, pinned_in, value_of
from tests.kernel.test_share import OTHER_UID, UID
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import CgroupMaker, Grow

OTHERS = 6
LOOPS, EACH, RESTARTS = 2, 60, 2


def pod(uid: str, container: str) -> str:
    """A container's cgroup."""
    return f"/oomtracer-test/kubepods/burstable/pod{uid}/{container * 64}"


def other(number: int) -> str:
    """The same of one of the others."""
    return pod(f"{number:08x}{OTHER_UID[8:]}", "f")


def loop_beside_others(make_cgroup: CgroupMaker, grow: Grow) -> list[int]:
    """Several storms in new containers of one pod, again and again; the victims of the others."""
    killed = []
    for restart in range(RESTARTS):
        with ExitStack() as stack:
            leaves = [make_cgroup(pod(UID, f"{restart * LOOPS + i:x}")) for i in range(LOOPS)]
            storms = [
                stack.enter_context(
                    grow.start(leaf.limit(STORM_LIMIT_BYTES), "storm", STORM_BYTES, str(EACH))
                )
                for leaf in leaves
            ]
            for number in range(OTHERS // RESTARTS):
                cgroup = make_cgroup(other(restart * OTHERS + number)).limit(STORM_LIMIT_BYTES)
                killed.append(grow(cgroup))
            assert [storm.wait(60) for storm in storms] == [0] * LOOPS
    return killed


def test_while_the_agent_reads(make_cgroup: CgroupMaker, grow: Grow, tmp_path: Path) -> None:
    """Nothing at all is lost, of the loop neither."""
    with Agent(*kept_in(tmp_path / "state"), *SERVED) as agent:
        killed = loop_beside_others(make_cgroup, grow)
        told = [agent.report() for _ in range(RESTARTS * LOOPS * EACH + len(killed))]
        assert set(killed) <= set(pids(told))
        assert value_of(agent, "lost_events_total", stage="over_share") == 0
        assert agent.stop() == (0, [])


@pytest.mark.parametrize("how", ["stopped", "down"])
def test_while_nobody_reads(
    make_cgroup: CgroupMaker, grow: Grow, tmp_path: Path, pin_path: Path, how: str
) -> None:
    """The ring has room for 23 kills and gets hundreds: the others have their place, the loop's are counted."""
    flags = (*kept_in(tmp_path / "state"), *pinned_in(pin_path), "--ring-size", "64KiB", *SERVED)
    with Agent(*flags) as agent:
        if how == "down":
            assert agent.stop() == (0, [])
        else:
            agent.process.send_signal(signal.SIGSTOP)
        killed = loop_beside_others(make_cgroup, grow)
        if how == "stopped":
            agent.process.send_signal(signal.SIGCONT)
            wait_until(lambda: len(history(tmp_path / "state")) >= len(killed), "they are kept")
            assert_counted(agent, tmp_path / "state", killed)
    if how == "down":
        with Agent(*flags) as agent:
            wait_until(lambda: len(history(tmp_path / "state")) >= len(killed), "they are kept")
            assert_counted(agent, tmp_path / "state", killed)


def assert_counted(agent: Agent, state: Path, killed: list[int]) -> None:
    """What is kept and what the loop has lost are all the kills."""
    everything = RESTARTS * LOOPS * EACH + len(killed)

    def is_all_there() -> bool:
        lost = value_of(agent, "lost_events_total", stage="over_share")
        return len(history(state)) + lost == everything

    wait_until(is_all_there, "kept and lost are all")
    assert set(killed) <= set(pids(history(state)))
    assert value_of(agent, "lost_events_total", stage="ring_full") == 0


def test_what_came_before_the_journal_is_small(make_cgroup: CgroupMaker, grow: Grow, tmp_path: Path) -> None:
    """After a restart with a smaller bound, too."""
    state = tmp_path / "state"
    with Agent(*kept_in(state)) as agent:
        killed = grow(make_cgroup(other(0)).limit(STORM_LIMIT_BYTES))
        agent.report_of(killed)
        with grow.start(
            make_cgroup(pod(UID, "a")).limit(STORM_LIMIT_BYTES), "storm", STORM_BYTES, "500"
        ) as storm:
            assert [agent.report() for _ in range(500)]
            assert storm.wait(60) == 0
        assert agent.stop() == (0, [])
    assert len(history(state)) == 501
    with Agent(*kept_in(state), "--state-max-size", "1MiB") as agent:
        wait_until(lambda: len(history(state)) < 501, "evicted")
        assert killed in pids(history(state))
        assert agent.stop() == (0, [])

"""The wall clock jumps, as after a wrong hardware clock: nothing is lost, told again, or taken for old."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.kept import history, ids, pids
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kernel.conftest import CgroupMaker, Grow

DAY_S = 86_400


@pytest.fixture
def jump() -> Iterator[Callable[[int], None]]:
    """Set the wall clock by so many days; right again at the end."""
    offset_s = time.time() - time.monotonic()

    def by(days: int) -> None:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + days * DAY_S)

    yield by
    time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset_s)


def test_a_clock_that_jumps(
    tmp_path: Path, make_cgroup: CgroupMaker, grow: Grow, jump: Callable[[int], None]
) -> None:
    """Forth and back by more than reports are kept, under one agent and between two."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    state = tmp_path / "state"
    killed, told = [], []
    with Agent("--state-dir", str(state)) as agent:
        agent.log.until("kernel log: ")  # of the tests before this one
        for days in (0, 60, -120):
            jump(days)
            killed.append(grow(cgroup))
            told.append(agent.report_of(killed[-1]))
        code, rest = agent.stop()
        assert code == 0
    jump(90)
    with Agent("--state-dir", str(state)) as agent:
        agent.log.until("kernel log: 0 kills told now")
        killed.append(grow(cgroup))
        told.append(agent.report_of(killed[-1]))
        wait_until(lambda: killed[-1] in pids(history(state)), "it is kept")
        assert agent.stop() == (0, [])
        agent.log.until("lost: none")
    kept = [report for report in history(state) if report["victim"]["pid"] in killed]
    assert sorted(pids(kept)) == sorted(killed)
    assert set(ids([*told, *rest]).values()) == {1}
    assert [report["boot_time_ns"] for report in told] == sorted(report["boot_time_ns"] for report in told)
    days = [round((_unix_s(after) - _unix_s(before)) / DAY_S) for before, after in pairwise(told)]
    assert days == [60, -120, 90]


def _unix_s(report: dict[str, str]) -> float:
    return time.mktime(time.strptime(report["time"][:19], "%Y-%m-%dT%H:%M:%S"))

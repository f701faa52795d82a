"""Between two agents something goes missing: pins, the journal, or a part of either. No kill is lost or told twice."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from tests.kernel.agent import Agent
from tests.kernel.kept import SERVED, history, kept_in, make_storm, pids, pinned_in, rest_of_log, value_of
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow

SMALL = ("--state-max-size", "1MiB")


def test_what_has_left_the_journal_is_not_told_again_and_hides_nothing(
    tmp_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """A kill that nobody has told yet is older than some of those that were told and have left."""
    state = tmp_path / "state"
    begin_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with Agent(*kept_in(state), *SMALL) as agent:
        make_storm(grow, cgroup, 300)
        assert len([agent.report() for _ in range(300)]) == 300
        assert agent.stop() == (0, [])
    missed = grow(cgroup)
    with Agent(*kept_in(state), *SMALL) as agent:
        make_storm(grow, cgroup, 450)
        later = [agent.report() for _ in range(450)]
        wait_until(lambda: pids(later)[0] not in pids(history(state)), "some that came later have left")
        assert agent.stop() == (0, [])
    with Agent("--state-dir", str(state), *SMALL) as agent:
        agent.log.until("kernel log: ")
        code, told = agent.stop()
    assert code == 0
    ours = [report for report in told if report["boot_time_ns"] > begin_ns]
    assert [(report["victim"]["pid"], report["source"]) for report in ours] == [(missed, "kmsg")]


def test_a_new_journal_beside_old_pins_takes_nothing_for_lost(
    tmp_path: Path, pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """It does not know what the journal before it had."""
    flags = (*kept_in(tmp_path / "state"), *pinned_in(pin_path))
    with Agent(*flags) as agent:
        for _ in range(3):
            agent.report_of(grow(cgroup))
        assert agent.stop() == (0, [])
    shutil.rmtree(tmp_path / "state")
    missed = grow(cgroup)
    for _ in range(2):
        with Agent(*flags, *SERVED) as agent:
            told = [agent.report_of(missed)] if missed else []
            told += [agent.report_of(grow(cgroup)) for _ in range(2)]
            assert value_of(agent, "lost_events_total", stage="in_hand") == 0
            assert agent.stop() == (0, [])
            assert "lost: none" in rest_of_log(agent)
        missed = 0
    assert len(history(tmp_path / "state")) == 5


def test_kills_told_from_the_log_are_not_told_from_the_ring(
    tmp_path: Path, pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """An agent could not use the pins, and went by the log; the next one can, and finds the same kills in the ring."""
    flags = ("--state-dir", str(tmp_path / "state"), *pinned_in(pin_path))
    with Agent(*flags) as agent:
        agent.log.until("kernel log: ")
        assert agent.stop()[0] == 0
    (pin_path / "foreign").mkdir()
    missed = [grow(cgroup) for _ in range(2)]
    with Agent(*flags) as agent:
        agent.log.until("kernel log: 2 kills told now")
        assert [agent.report()["source"] for _ in missed] == ["kmsg"] * 2
        assert agent.stop() == (0, [])
    (pin_path / "foreign").rmdir()
    with Agent(*flags) as agent:
        agent.log.until("kernel log: 0 kills told now")
        fresh = grow(cgroup)
        assert agent.report()["victim"]["pid"] == fresh
        assert agent.stop() == (0, [])
    kept = pids(history(tmp_path / "state"))
    assert [kept.count(pid) for pid in (*missed, fresh)] == [1, 1, 1]


def test_who_has_adopted_programs_keeps_them_without_their_pins(
    pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """Somebody removes the pins: the agent goes on, and says that nothing will outlive it."""
    with Agent(*pinned_in(pin_path)) as agent:
        assert agent.stop() == (0, [])
    with Agent(*pinned_in(pin_path), *SERVED) as agent:
        assert value_of(agent, "pinned") == 1
        for each in pin_path.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        assert value_of(agent, "pinned") == 0
        killed = [grow(cgroup) for _ in range(3)]
        assert [agent.report()["victim"]["pid"] for _ in killed] == killed
        assert agent.stop() == (0, [])

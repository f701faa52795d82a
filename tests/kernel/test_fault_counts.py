"""Back-fill and audit, end to end: what nobody traced, what the ring had no room for, and what was told of it."""

from __future__ import annotations

import json
import signal
import sqlite3
from typing import TYPE_CHECKING

from tests.kernel.agent import Agent
from tests.kernel.kept import SERVED, history, kept_in, make_storm, pids, pinned_in, rest_of_log, value_of
from tests.kernel.test_storm import kernel_kills
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.agent import Report
    from tests.kernel.conftest import Cgroup, Grow


def audit_rows(state: Path) -> list[dict[str, object]]:
    """What the journal has of the counts, the newest last."""
    with sqlite3.connect(f"file:{state / 'journal.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT counts FROM audits ORDER BY until_us").fetchall()
    connection.close()
    return [json.loads(row[0]) for row in rows]


def until_recovered(agent: Agent) -> list[Report]:
    """The reports of an agent that has gone through the log, and is stopped."""
    agent.log.until("kernel log: ")
    code, reports = agent.stop()
    assert code == 0
    return reports


def test_kills_of_before_the_first_start(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Told once, as the log's, counted apart; those that a program saw are not told again by the log."""
    flags = ("--state-dir", str(tmp_path / "state"), *SERVED)
    missed = [grow(cgroup) for _ in range(3)]
    with Agent(*flags) as agent:
        agent.log.until("kernel log: ")
        seen = grow(cgroup)
        wait_until(lambda: value_of(agent, "backfilled_kills_total") >= 3, "counted")
        wait_until(lambda: seen in pids(history(tmp_path / "state")), "kept")
        assert value_of(agent, "kills_total", scope="memcg", limit_owner="other") == 1
        assert value_of(agent, "events_total", stage="observed", reason="ebpf_capture") == 1
        code, told = agent.stop()
        assert code == 0
    last = [report for report in told if report["victim"]["pid"] in (*missed, seen)][-4:]
    assert pids(last) == [*missed, seen]
    assert [report["source"] == "kmsg" for report in last] == [True, True, True, False]
    with Agent(*flags) as agent:
        assert until_recovered(agent) == []
        assert "0 kills told now" in rest_of_log(agent)


def test_no_back_fill(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """With --backfill off, nothing of before is told."""
    grow(cgroup)
    with Agent(*kept_in(tmp_path / "state"), *SERVED) as agent:
        pid = grow(cgroup)
        assert pids([agent.report()]) == [pid]
        assert value_of(agent, "backfilled_kills_total") == 0
        assert agent.stop() == (0, [])
        assert "kernel log" not in rest_of_log(agent)


def test_kills_without_pins_are_recovered(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """A time without agent and pins, after a first life: the log tells what happened in it, and nothing else again."""
    flags = ("--state-dir", str(tmp_path / "state"))
    with Agent(*flags) as agent:
        agent.log.until("kernel log: ")
        seen = grow(cgroup)
        agent.report_of(seen)
        assert agent.stop() == (0, [])
    missed = [grow(cgroup) for _ in range(2)]
    with Agent(*flags) as agent:
        told = until_recovered(agent)
    assert pids(told) == missed
    assert {report["source"] for report in told} == {"kmsg"}


def test_losses_are_told_once(tmp_path: Path, pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """A ring that is full: log, metric and journal say how many; kills of before are none; the next agent is silent."""
    state = tmp_path / "state"
    flags = (*kept_in(state), *pinned_in(pin_path), "--ring-size", "16KiB", *SERVED)
    grow(cgroup)
    before = kernel_kills()
    with Agent(*flags) as agent:
        agent.process.send_signal(signal.SIGSTOP)
        make_storm(grow, cgroup, 20)
        agent.process.send_signal(signal.SIGCONT)
        code, told = agent.stop()
        assert code == 0
        lost = 20 - len(told)
        log = rest_of_log(agent)
    assert lost > 0
    row = audit_rows(state)[-1]
    assert sum(row["lost"].values()) == lost
    assert row["lost"]["unseen"] == 0
    assert row["before_start"] == before
    assert row["kernel_kills"] == 20
    assert f"{lost}" in "\n".join(line for line in log.splitlines() if "ERROR oomtracer.app" in line)
    with Agent(*flags) as agent:
        counted = sum(
            value_of(agent, "lost_events_total", stage=stage) for stage in ("ring_full", "over_share")
        )
        assert counted == lost
        assert agent.stop() == (0, [])
        audit = [line for line in rest_of_log(agent).splitlines() if "ERROR" in line]
    assert not [line for line in audit if "kills observed" not in line]
    assert sum(audit_rows(state)[-1]["lost"].values()) == lost

"""The journal's disk full, read-only, gone or not ours, under a whole agent: kills are told all the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.journal.scene import Disk, filled, remount, tmpfs
from tests.kernel.agent import Agent, run_oomtracer
from tests.kernel.kept import (
    OFF,
    SERVED,
    history,
    ids,
    kept_in,
    make_storm,
    pids,
    pinned_in,
    readiness,
    rest_of_log,
    value_of,
)
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.agent import Report
    from tests.kernel.conftest import Cgroup, Grow

NOBODY = 65534


def kill_until_ready(agent: Agent, grow: Grow, cgroup: Cgroup) -> list[Report]:
    """Kills, until one has found that the journal can be written again; their reports."""
    reports = []

    def is_ready() -> bool:
        reports.append(agent.report_of(grow(cgroup)))
        return readiness(agent) == (200, "ok\n")

    wait_until(is_ready, "the journal is written again")
    return reports


def assert_told_once_and_kept(state: Path, told: list[Report]) -> None:
    """Whatever was told is in the journal once, and an agent that comes next has nothing to tell."""
    assert ids(history(state)) == ids(told)
    assert set(ids(told).values()) == {1}
    with Agent(*kept_in(state)) as next_one:
        assert next_one.stop() == (0, [])


def test_a_full_disk(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Reports go on, /readyz and the metrics say what is wrong; with room again, all of it is kept, told once."""
    with tmpfs(tmp_path / "disk", "size=4m") as disk:
        with Agent(*kept_in(disk / "state"), *SERVED) as agent:
            told = [agent.report_of(grow(cgroup))]
            with filled(disk):
                make_storm(grow, cgroup, 80)
                told += [agent.report() for _ in range(80)]
                wait_until(lambda: readiness(agent)[0] == 503, "it is not ready")
                assert "full" in readiness(agent)[1]
                assert value_of(agent, "journal_writable") == 0
                assert value_of(agent, "journal_waiting_writes") > 0
            told += kill_until_ready(agent, grow, cgroup)
            assert value_of(agent, "journal_waiting_writes") == 0
            assert value_of(agent, "journal_deferred_writes_total") > 0
            assert ids(history(disk / "state")) == ids(told)
            assert agent.stop() == (0, [])
        assert_told_once_and_kept(disk / "state", told)


@pytest.mark.parametrize("freed", ["before the next start", "after the next start"])
def test_a_full_disk_and_a_sudden_death(
    tmp_path: Path, pin_path: Path, cgroup: Cgroup, grow: Grow, freed: str
) -> None:
    """What only memory had was told, and is counted as not kept, once; what comes later is told and kept."""
    with tmpfs(tmp_path / "disk", "size=4m") as disk, ExitStack() as full:
        flags = (*kept_in(disk / "state"), *pinned_in(pin_path))
        with Agent(*flags, *SERVED) as agent:
            told = [agent.report_of(grow(cgroup))]
            full.enter_context(filled(disk))
            make_storm(grow, cgroup, 80)
            told += [agent.report() for _ in range(80)]
            wait_until(lambda: readiness(agent)[0] == 503, "it is not ready")
            agent.process.kill()
            told += [json.loads(line) for line in agent.reports.rest()]
            missed = grow(cgroup)
        if freed == "before the next start":
            full.close()
        with Agent(*flags, *SERVED) as agent:
            told.append(agent.report_of(missed))
            full.close()
            wait_until(lambda: readiness(agent)[0] == 200, "it is ready again")
            assert set(ids(told).values()) == {1}
            assert missed in pids(history(disk / "state"))
            gone = len(ids(told) - ids(history(disk / "state")))
            wait_until(lambda: value_of(agent, "lost_events_total", stage="in_hand") == gone, "counted")
            assert agent.stop() == (0, [])
        assert gone > 0
        with Agent(*flags, *SERVED) as agent:
            agent.report_of(grow(cgroup))
            assert value_of(agent, "lost_events_total", stage="in_hand") == 0
            assert agent.stop() == (0, [])


def test_a_disk_that_is_read_only_at_the_start(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """It traces in memory and says so; once the disk may be written, the kills of before are kept, too."""
    with tmpfs(tmp_path / "disk", "size=8m,ro") as disk:
        with Agent(*kept_in(disk / "state"), *SERVED) as agent:
            told = [agent.report_of(grow(cgroup))]
            status, why = readiness(agent)
            assert status == 503
            assert "ead-only" in why
            remount(disk, "rw")
            told += kill_until_ready(agent, grow, cgroup)
            assert agent.stop() == (0, [])
        assert_told_once_and_kept(disk / "state", told)


def test_a_disk_that_fails(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Every access an error, from one moment on: reports go on, and all are kept once a disk is there again."""
    with Disk(tmp_path) as disk:
        state = disk.target / "state"
        with Agent(*kept_in(state), *SERVED) as agent:
            told = [agent.report_of(grow(cgroup)) for _ in range(3)]
            os.sync()  # what is clean has to be asked for again before it is written to
            disk.fail()
            told += [agent.report_of(grow(cgroup)) for _ in range(3)]
            wait_until(lambda: readiness(agent)[0] == 503, "it is not ready")
            disk.replace()
            told += kill_until_ready(agent, grow, cgroup)
            assert agent.stop() == (0, [])
        assert_told_once_and_kept(state, told)


def test_a_disk_that_hangs(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Whoever writes to it waits: the agent starts, tells and is stopped all the same, each after ten seconds at most."""
    with Disk(tmp_path) as disk:
        state = disk.target / "state"
        with Agent(*kept_in(state)) as agent:
            assert agent.stop() == (0, [])
        # A process that waits for a disk cannot be killed: the disk goes on before the agent's context is left.
        with Agent(*kept_in(state), *SERVED, ready=False) as agent, disk.frozen():
            agent.log.until("tracing OOM kills")
            told = [agent.report_of(grow(cgroup)) for _ in range(2)]
            assert "does not answer" in readiness(agent)[1]
            agent.process.send_signal(signal.SIGTERM)
            agent.log.until("operations of the journal are lost")
        assert set(ids(told).values()) == {1}


def test_a_disk_that_hangs_for_a_while(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Reports go on while it does, and all are kept once it answers."""
    with Disk(tmp_path) as disk:
        state = disk.target / "state"
        with Agent(*kept_in(state), *SERVED) as agent:
            told = [agent.report_of(grow(cgroup)) for _ in range(2)]
            os.sync()  # what is clean has to be asked for again before it is written to
            with disk.frozen():
                told += [agent.report_of(grow(cgroup)) for _ in range(2)]
                assert "does not answer" in readiness(agent)[1]
            told += kill_until_ready(agent, grow, cgroup)
            assert agent.stop() == (0, [])
        assert_told_once_and_kept(state, told)


def test_a_directory_that_vanishes(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Somebody removes it under the agent: it is made anew, and what comes after that is kept."""
    state = tmp_path / "state"
    with Agent(*kept_in(state), *SERVED) as agent:
        agent.report_of(grow(cgroup))
        shutil.rmtree(state)
        told = [agent.report_of(grow(cgroup))]
        wait_until((state / "journal.db").exists, "it is made anew")
        told += kill_until_ready(agent, grow, cgroup)
        assert agent.stop() == (0, [])
    kept = ids(history(state))
    assert kept[told[-1]["id"]] == 1
    with Agent(*kept_in(state)) as next_one:
        assert next_one.stop() == (0, [])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a file", "is not a directory"),
        ("a file above", "is not a directory"),
        ("nothing above", "is not a directory"),
        ("another user's", f"belongs to user {NOBODY}"),
        ("open to others", "others may write to"),
    ],
)
def test_a_directory_that_cannot_be_right(tmp_path: Path, what: str, said: str) -> None:
    """Two lines that name it, and exit code 1 or 2, before anything is loaded; nothing there is changed."""
    state = tmp_path / "state"
    if what == "a file":
        state.write_text("mine")
    elif what == "a file above":
        (tmp_path / "file").write_text("mine")
        state = tmp_path / "file" / "state"
    elif what == "nothing above":
        state = tmp_path / "missing" / "state"
    else:
        state.mkdir(mode=0o700)
        if what == "another user's":
            os.chown(state, NOBODY, NOBODY)
        else:
            state.chmod(0o770)
    before = sorted((path, path.stat().st_mode) for path in tmp_path.rglob("*"))
    done = run_oomtracer("run", "--state-dir", str(state), *OFF)
    error, hint = done.stderr.splitlines()
    assert done.returncode == 1
    assert error.startswith("error: --state-dir: ")
    assert said in error
    assert hint.startswith("hint: ")
    assert sorted((path, path.stat().st_mode) for path in tmp_path.rglob("*")) == before


def write_garbage(path: Path) -> None:
    """No database at all."""
    path.write_bytes(b"garbage" * 1000)


def damage(path: Path) -> None:
    """A journal with something else in the middle."""
    size_bytes = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size_bytes - 4096))


def make_foreign(path: Path) -> None:
    """Somebody else's database."""
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (name TEXT)")
    other.close()


@pytest.mark.parametrize(
    ("spoil", "why"), [(write_garbage, "corrupt"), (damage, "corrupt"), (make_foreign, "foreign")]
)
def test_a_file_that_is_no_journal(tmp_path: Path, cgroup: Cgroup, grow: Grow, spoil, why: str) -> None:
    """It is set aside as it is, and tracing goes on with a new one."""
    state = tmp_path / "state"
    with Agent(*kept_in(state)) as agent:
        make_storm(grow, cgroup, 20)
        agent.stop()
    spoil(state / "journal.db")
    content = (state / "journal.db").read_bytes()
    with Agent(*kept_in(state), *SERVED) as agent:
        told = [agent.report_of(grow(cgroup))]
        assert value_of(agent, "journal_set_aside_files_total") == 1
        assert readiness(agent) == (200, "ok\n")
        assert agent.stop() == (0, [])
        assert "set aside as" in rest_of_log(agent)
    [aside] = [path for path in state.glob(f"journal.db.{why}-*") if not path.name.endswith(("-wal", "-shm"))]
    assert aside.read_bytes() == content
    assert ids(history(state)) == ids(told)

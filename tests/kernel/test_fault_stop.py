"""Ends of an agent with pins and journal: in the middle of a storm, of its start, and of a line of its output."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import COMMAND, Agent, parse_report
from tests.kernel.kept import history, ids, kept_in, make_storm, pids, pinned_in
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES, kernel_kills
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow


@pytest.fixture
def flags(tmp_path: Path, pin_path: Path) -> tuple[str, ...]:
    """Journal and pins, with room for a storm that nobody reads."""
    return (*kept_in(tmp_path / "state"), *pinned_in(pin_path), "--ring-size", "4MiB")


def test_orderly_stops_during_storms(
    tmp_path: Path, flags: tuple[str, ...], cgroup: Cgroup, grow: Grow
) -> None:
    """SIGTERM in the middle of kills, several times: each is told by one of the agents, exactly once, and kept."""
    before, told = kernel_kills(), []
    cgroup.limit(STORM_LIMIT_BYTES)
    for _ in range(4):
        with Agent(*flags) as agent, grow.start(cgroup, "storm", STORM_BYTES, "60") as storm:
            told += [agent.report() for _ in range(10)]
            code, rest = agent.stop()
            told += rest
            assert (code, storm.wait(60)) == (0, 0)
    with Agent(*flags) as agent:
        while len(told) < kernel_kills() - before:
            told.append(agent.report())
        assert agent.stop() == (0, [])
    assert len(told) == 240
    assert set(ids(told).values()) == {1}
    assert ids(history(tmp_path / "state")) == ids(told)


def test_a_reader_that_goes_away(tmp_path: Path, flags: tuple[str, ...], cgroup: Cgroup, grow: Grow) -> None:
    """The agent ends with its error; what the reader has not taken the next agent tells, once."""
    with Agent(*flags) as agent:
        told = [agent.report_of(grow(cgroup))]
        assert agent.process.stdout
        agent.process.stdout.close()
        missed = [grow(cgroup)]
        assert agent.process.wait(30) == 1
        assert "cannot write reports to stdout: its reader is gone" in agent.log.until("^error:")
    missed.append(grow(cgroup))
    with Agent(*flags) as agent:
        told += [agent.report() for _ in missed]
        assert pids(told[1:]) == missed
        assert agent.stop() == (0, [])
    assert ids(history(tmp_path / "state")) == ids(told)
    with Agent(*flags) as agent:
        assert agent.stop() == (0, [])


def test_a_reader_that_reads_nothing(
    tmp_path: Path, flags: tuple[str, ...], cgroup: Cgroup, grow: Grow
) -> None:
    """Killed with more reports than a pipe holds: those that were not taken are told by the next agent."""
    with Agent(*flags) as agent:
        make_storm(grow, cgroup, 80)
        wait_until(lambda: len(history(tmp_path / "state")) == 80, "all are kept")
        agent.process.kill()
        agent.process.wait()
        lines = agent.reports.rest()
    told = [parse_report(line) for line in lines]
    assert 0 < len(told) < 80
    with Agent(*flags) as agent:
        told += [agent.report() for _ in range(80 - len(told))]
        code, again = agent.stop()
    assert code == 0
    assert len(again) <= 1  # the one that was being written
    assert set(ids(told)) == set(ids(history(tmp_path / "state")))


def test_a_file_that_ends_within_a_line(
    tmp_path: Path, flags: tuple[str, ...], cgroup: Cgroup, grow: Grow
) -> None:
    """The next agent begins a line of its own, so that one line at most is not whole."""
    output = tmp_path / "reports.jsonl"
    output.write_bytes(b'{"id": "cut o')
    pid = 0
    with output.open("ab") as file, (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen([*COMMAND, "run", "--output", "json", *flags], stdout=file, stderr=log)
    try:
        wait_until(lambda: "tracing OOM kills" in (tmp_path / "log").read_text(), "it traces")
        pid = grow(cgroup)
        wait_until(
            lambda: f'"pid": {pid}' in output.read_text() or f'"pid":{pid}' in output.read_text(), "told"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    cut, whole = output.read_bytes().splitlines()
    assert cut == b'{"id": "cut o'
    assert pids([json.loads(whole)]) == [pid]


def there(*names: str) -> Callable[[Path], bool]:
    """A condition: one of these files is below a directory."""
    return lambda directory: any(path.match(name) for path in directory.rglob("*") for name in names)


@pytest.mark.parametrize(
    "instant",
    [
        pytest.param(there("state"), id="directory made"),
        pytest.param(there("journal.db"), id="journal made"),
        pytest.param(there("map_*"), id="pinning begun"),
        pytest.param(there("link_*"), id="first link pinned"),
        pytest.param(there("map_meta"), id="pinned"),
        pytest.param(there("told"), id="journal taken up"),
    ],
)
def test_killed_while_it_starts(
    tmp_path: Path,
    flags: tuple[str, ...],
    cgroup: Cgroup,
    grow: Grow,
    instant: Callable[[Path], bool],
) -> None:
    """As soon as a file is there it is killed: the next agent starts, and tells and keeps each kill since once."""
    with Agent(*flags, ready=False) as agent:
        wait_until(lambda: instant(tmp_path), "the instant")
        agent.process.kill()
        agent.process.wait()
    missed = grow(cgroup)
    with Agent(*flags) as agent:
        told = [agent.report_of(grow(cgroup))]
        code, rest = agent.stop()
        assert (code, rest) == (0, [])
        everything = [parse_report(line) for line in agent.reports.all]
    assert set(ids(everything).values()) == {1}
    assert ids(history(tmp_path / "state")) == ids(everything)
    assert told[0] in everything
    assert set(pids(everything)) <= {missed, *pids(told)}


def test_killed_while_it_takes_up_what_was_left(
    tmp_path: Path, flags: tuple[str, ...], cgroup: Cgroup, grow: Grow
) -> None:
    """Over a full ring, again and again, at each of its first lines of log: nothing is missing, nothing kept twice."""
    with Agent(*flags) as agent:
        assert agent.stop() == (0, [])
    make_storm(grow, cgroup, 150)
    told = []
    for line in ("programs pinned in .* are in use", "tracing OOM kills", "tracing OOM kills"):
        with Agent(*flags, ready=False) as agent:
            agent.log.until(line)
            agent.process.kill()
            told += map(parse_report, agent.reports.rest())
    with Agent(*flags) as agent:
        wait_until(lambda: len(history(tmp_path / "state")) == 150, "all are kept")
        code, rest = agent.stop()
        assert code == 0
        told += rest
    assert set(ids(history(tmp_path / "state")).values()) == {1}
    assert set(ids(told)) == set(ids(history(tmp_path / "state")))

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from oomtracer.errors import OomTracerError, UsageError
from oomtracer.events import Scope
from oomtracer.history import parse_instant
from oomtracer.journal.reader import PAGE_ROWS, Reader, Wanted
from oomtracer.sinks.jsonl import json_line
from tests.unit.builders import POD_UID, unfit
from tests.unit.pipes import run

from .scene import BASE_US, Disk, in_pod, in_unit, journal, numbered, row, tmpfs

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OOMTRACER_")}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user: run `sudo make test`")


def write(directory: Path, *rows) -> None:
    """Keep reports, as an agent that then stops."""

    async def scenario() -> None:
        async with journal(directory) as opened:
            await opened.add(rows)

    run(scenario())


def history(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "oomtracer", "history", f"--state-dir={directory}", *flags],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(directory: Path, *flags: str) -> list[str]:
    """Tell the ids of the kills that it shows."""
    done = history(directory, "--output=json", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def read(directory: Path, **wanted) -> list[str]:
    """Tell the ids that the reader finds, in this process."""
    with Reader(directory) as reader:
        return [each.report.id for each in reader.reports(Wanted(**wanted))]


def refused(directory: Path, *flags: str) -> tuple[str, str]:
    """Demand code 1 and two lines; give both without their labels."""
    done = history(directory, *flags)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    """Tell size and time of all files."""
    return {each.name: (each.stat().st_size, each.stat().st_mtime_ns) for each in directory.iterdir()}


def test_json_is_what_run_printed(tmp_path):
    """Byte for byte the lines of `run`, the oldest first, whatever names are in them."""
    rows = [row(3), row(1, workload=in_pod("\x1b[31m\u202e", "evil\n")), row(2)]
    write(tmp_path / "state", *rows)
    done = history(tmp_path / "state", "--output=json")
    expected = b"".join(json_line(each.report) for each in (rows[1], rows[2], rows[0]))
    assert (done.returncode, done.stdout.encode(), done.stderr) == (0, expected, "")
    assert history(tmp_path / "state").stdout.encode() == expected  # standard output is no terminal


def test_the_table_is_for_people(tmp_path):
    """One line a kill under a headline, nothing unprintable in it, and the number of kills at the end."""
    evil = in_pod("web\x1b[2J", "shop\n\u202e")
    write(
        tmp_path / "state",
        row(1, decision="budget_spent"),
        row(2, workload=evil, limit=None, scope=Scope.GLOBAL, selftest=True),
    )
    done = history(tmp_path / "state", "--output=table")
    assert (done.returncode, done.stderr) == (0, "")
    head, first, second, blank, last = done.stdout.splitlines()
    assert head.split() == ["TIME", "SCOPE", "VICTIM", "WORKLOAD", "LIMIT", "DECISION"]
    assert first.split() == [
        *(numbered(1).time, "memcg", numbered(1).victim.comm, "(pid", f"{numbered(1).victim.pid})"),
        *("unit", "shop.service", "unit", "64.0", "MiB", "budget_spent"),
    ]
    assert "global" in second
    assert "[self-test]" in second
    assert unfit(done.stdout) <= {"\n"}
    assert (blank, last) == ("", f"2 kills, {numbered(1).time} to {numbered(2).time}")
    assert history(tmp_path / "state", "--output=text").stdout == done.stdout


def test_an_empty_journal(tmp_path):
    """There is nothing to tell as JSON, and a person is told so; both are no failure."""
    write(tmp_path / "state")
    done = history(tmp_path / "state", "--output=json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = history(tmp_path / "state", "--output=table")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no kills\n", "")


def test_only_what_is_asked_for(tmp_path):
    """Flags are combined: each leaves out what does not match it."""
    directory = tmp_path / "state"
    other = in_pod("web-1", "bank", "0" * 36)
    write(
        directory,
        row(1, workload=in_pod("web-1", "shop")),
        row(2, workload=other),
        row(3, workload=in_unit("nginx.service"), scope=Scope.GLOBAL),
        row(4, workload=in_unit("nginx.service")),
    )
    names = {
        ("--pod=web-1",): [1, 2],
        ("--pod=shop/web-1",): [1],
        ("--pod=web",): [],
        (f"--pod={POD_UID.upper()}",): [1],
        ("--unit=nginx.service",): [3, 4],
        ("--unit=nginx",): [],
        ("--unit=nginx.service", "--scope=memcg"): [4],
        ("--scope=global",): [3],
        ("--limit=2",): [3, 4],
        ("--limit=1", "--pod=web-1"): [2],
        ("--limit=100",): [1, 2, 3, 4],
        (f"--since={numbered(2).time}",): [2, 3, 4],
        (f"--since={numbered(2).time}", f"--until={numbered(4).time}"): [2, 3],
        ("--since=2100-01-01",): [],
        ("--until=2000-01-01",): [],
        ("--since=2026-01-01", "--until=2026-12-31"): [1, 2, 3, 4],
    }
    for flags, expected in names.items():
        assert told(directory, *flags) == [numbered(number).id for number in expected], flags


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("2h", (10**9 - 7200) * 10**6),
        ("0", 10**15),
        ("1h30m", (10**9 - 5400) * 10**6),
        ("2026-03-01", 1_772_323_200 * 10**6),
        ("2026-03-01T12:34:56.789012Z", BASE_US),
        ("2026-03-01T13:34:56.789012+01:00", BASE_US),
        ("2026-03-01T12:34:56.789012", BASE_US),
        ("1969-12-31T23:59:59.5Z", -500_000),
    ],
)
def test_instants(text, expected_us):
    """A time is RFC 3339, a day, or so long ago; without a zone it is UTC."""
    assert parse_instant(text, flag="--since", clock=lambda: 1e9) == expected_us


@pytest.mark.parametrize("text", ["yesterday", "2h ago", "-2h", "2026-13-01", "12:00", "\x1b[31m"])
def test_what_is_no_instant(text):
    """It is refused with what to write instead."""
    with pytest.raises(UsageError, match="--since") as error:
        parse_instant(text, flag="--since")
    assert "2026-03-01" in error.value.hint


@pytest.mark.parametrize(
    "flags",
    [
        ["--since=nonsense"],
        ["--until=x"],
        ["--limit=0"],
        ["--scope=pod"],
        ["--output=xml"],
        ["--since=2h", "--until=3h"],
    ],
)
def test_a_wrong_call(tmp_path, flags):
    """What can work nowhere is refused with code 2."""
    done = history(tmp_path, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2


def test_what_is_no_file_is_not_waited_for(tmp_path):
    """A pipe has no end until somebody writes."""
    os.mkfifo(tmp_path / "journal.db")
    done = history(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no journal" in done.stderr


def test_it_reads_beside_the_agent(tmp_path):
    """While the agent writes, each look shows whole reports, in order, and holds the agent up by nothing."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            looks = []
            for start in range(0, 2000, 50):
                await opened.add([row(number) for number in range(start, start + 50)])
                looks.append(await asyncio.to_thread(read, tmp_path / "state"))
                assert len(looks[-1]) == start + 50
                assert opened.fault == ""
            assert looks[-1] == [numbered(number).id for number in range(2000)]

    run(scenario())


def test_a_reader_that_pauses_does_not_keep_the_log(tmp_path):
    """Between two pages nothing is held: the log is taken into the file and begun anew."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(number) for number in range(PAGE_ROWS + 1)])
            with Reader(tmp_path / "state") as reader:
                found = reader.reports(Wanted())
                next(found)
                for start in range(1000, 6000, 100):
                    await opened.add([row(number) for number in range(start, start + 100)])
                assert (tmp_path / "state/journal.db-wal").stat().st_size < 8 << 20
                assert len(list(found)) == PAGE_ROWS + 5000

    run(scenario())


def test_a_reader_outlives_the_agents_stop_and_start(tmp_path):
    """What began while the agent ran, or did not, goes on when that changes; nothing is told twice."""
    directory = tmp_path / "state"
    first = [row(number) for number in range(PAGE_ROWS * 2)]
    write(directory, *first)

    async def more() -> None:
        async with journal(directory) as opened:
            await opened.add([row(number) for number in range(1000, 1010)])
            found.extend(each.report.id for each in (next(stored) for _ in range(PAGE_ROWS)))
        found.extend(each.report.id for each in stored)

    with Reader(directory) as reader:
        stored = reader.reports(Wanted())
        found = [next(stored).report.id]
        run(more())
    assert found == [numbered(number).id for number in (*range(PAGE_ROWS * 2), *range(1000, 1010))]


def test_it_changes_nothing(tmp_path):
    """A journal of an agent that stopped, and one of an agent that was killed, stay as they are to the byte."""
    directory = tmp_path / "state"
    write(directory, row(1))
    before = snapshot(directory)
    assert told(directory) == [numbered(1).id]
    assert snapshot(directory) == before
    copy = tmp_path / "killed"

    async def scenario() -> None:
        async with journal(directory) as opened:
            await opened.add([row(2)])
            shutil.copytree(directory, copy)

    run(scenario())
    before = snapshot(copy)
    assert set(before) == {"journal.db", "journal.db-wal", "journal.db-shm"}
    assert told(copy) == [numbered(1).id, numbered(2).id]
    assert snapshot(copy) == before


def test_a_read_only_file_system(tmp_path):
    """The journal can be read where nothing can be written: of a stopped, a killed and a running agent."""

    async def scenario(disk: Path, mirror: Path) -> None:
        async with journal(disk / "state") as opened:
            await opened.add([row(1)])
            assert told(mirror / "state") == [numbered(1).id]
            await opened.add([row(2)])
            assert told(mirror / "state") == [numbered(1).id, numbered(2).id]
            shutil.copytree(disk / "state", disk / "killed")
        assert told(mirror / "killed") == [numbered(1).id, numbered(2).id]
        assert told(mirror / "state") == [numbered(1).id, numbered(2).id]

    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        subprocess.run(["mount", "--bind", str(disk), str(mirror)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(mirror)], check=True)
            run(scenario(disk, mirror))
        finally:
            subprocess.run(["umount", str(mirror)], check=True)


@needs_root
def test_another_user_is_told_what_to_do(tmp_path):
    """The directory is closed to others, and so is the journal."""
    write(tmp_path / "state", row(1))
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    program = (
        "import os, sys; from pathlib import Path\n"
        "from oomtracer.journal.reader import Reader\n"
        "from oomtracer.errors import OomTracerError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        "    Reader(Path(sys.argv[1])).__enter__()\n"
        "except OomTracerError as error:\n"
        "    print(error.message, error.hint, sep='; ')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "state")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "EACCES" in done.stdout, done.stderr
    assert "root" in done.stdout


def test_no_journal_there(tmp_path):
    """A directory without one, none at all, and a file in its place are told alike."""
    (tmp_path / "file").touch()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/journal.db").touch()
    for place in (tmp_path, tmp_path / "none", tmp_path / "file", tmp_path / "begun"):
        error, hint = refused(place)
        assert error == f"there is no journal in {place}"
        assert "--state-dir" in hint


def test_files_that_are_no_journal_of_ours(tmp_path):
    """Another program's, a newer agent's, and one that is damaged: each is told, and nothing is changed."""
    directory = tmp_path / "state"
    write(directory, row(1))
    connection = sqlite3.connect(directory / "journal.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    assert "is of version 9, newer" in refused(directory)[0]
    connection = sqlite3.connect(directory / "journal.db")
    connection.execute("PRAGMA application_id = 1")
    connection.close()
    assert "is no journal of oomtracer" in refused(directory)[0]
    (directory / "journal.db").write_bytes(b"nonsense" * 1000)
    assert "damaged" in refused(directory)[0]
    assert [each.name for each in directory.iterdir()] == ["journal.db"]


def test_a_log_without_its_index(tmp_path):
    """A copy that lacks a part is refused with which files belong together, and nothing is made."""
    copy = tmp_path / "copy"

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(1)])
            shutil.copytree(tmp_path / "state", copy)

    run(scenario())
    (copy / "journal.db-shm").unlink()
    _, hint = refused(copy)
    assert "-shm" in hint
    assert not (copy / "journal.db-shm").exists()


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path):
    """It is counted on standard error."""
    directory = tmp_path / "state"
    write(directory, row(1), row(2))
    connection = sqlite3.connect(directory / "journal.db")
    connection.execute("UPDATE reports SET report = '{}' WHERE n = 1")
    connection.commit()
    connection.close()
    done = history(directory, "--output=json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["id"] == numbered(2).id
    assert "1 reports of the journal" in done.stderr


def test_a_consumer_that_leaves_is_no_failure(tmp_path):
    """`oomtracer history | head` ends quietly."""
    write(tmp_path / "state", *[row(number) for number in range(2000)])
    command = [sys.executable, "-m", "oomtracer", "history", f"--state-dir={tmp_path / 'state'}"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.readline()
        done.stdout.close()
        assert done.stderr.read() == b""
        assert done.wait(60) == 0


def test_a_clock_that_was_set_back_mixes_nothing_up(tmp_path):
    """Kills are told by the time that they carry; those of the same time in the order in which they came."""
    early = numbered(1).time
    write(tmp_path / "state", row(5), row(3, time=early), row(2, time=early))
    assert read(tmp_path / "state") == [numbered(number).id for number in (3, 2, 5)]


def test_a_failing_disk_is_told(tmp_path):
    """An error of the disk is an error of the command, not no kills."""
    with Disk(tmp_path) as disk:
        write(disk.target / "state", row(1))
        disk.fail()
        with pytest.raises(OomTracerError):
            read(disk.target / "state")


def test_history_loads_nothing_of_the_kernel_side():
    """Reading a file needs neither the extension nor the event loop's servers."""
    program = (
        "import sys; from oomtracer.cli import main\n"
        "try:\n    main(['history', '--state-dir=/nonexistent'])\n"
        "except SystemExit: print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "sqlite3" in loaded
    assert not {each for each in loaded if each.startswith(("oomtracer.app", "oomtracer._native", "aiohttp"))}

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oomtracer.journal import Delivery, RawRecord, records, reports, writer
from oomtracer.journal import journal as journal_module
from tests.unit.pipes import run

from .scene import RING, Disk, filled, ids, journal, numbered, recent_ids, remount, row, tmpfs, until

COUNT = 300


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    """Try the disk again sooner than people would like."""
    monkeypatch.setattr(writer, "RETRY_AFTER_S", 0.2)
    monkeypatch.setattr(writer, "RETRY_AT_MOST_EVERY_S", 0.1)


async def written_ids(directory: Path) -> list[str]:
    """Open it once more, and tell the ids that are there."""
    async with journal(directory) as opened:
        return await opened.submit(lambda each: recent_ids(each, 10**6))


def test_a_full_disk_costs_nothing_once_there_is_room(tmp_path, caplog):
    """Answers come from memory with all that was there before, and all is written in order when there is room."""

    async def scenario(disk: Path) -> None:
        async with journal(disk / "state") as opened:
            await opened.add([row(number, pending=Delivery.EVENT) for number in range(3)])
            with filled(disk):
                for number in range(COUNT):
                    await opened.store(RING, [(number, b"x" * 2000)])
                    assert await opened.add([row(number), row(number)], [(RING, number)]) == [
                        number > 2,
                        False,
                    ]
                assert "full" in opened.fault
                assert opened.in_memory > 0
                await opened.submit(lambda each: reports.settle(each, [numbered(1).id], Delivery.EVENT))
                owed = await opened.submit(lambda each: reports.owed(each, Delivery.EVENT))
                assert ids(owed) == [numbered(0).id, numbered(2).id]
            await until(lambda: not opened.fault)
            assert opened.in_memory == 0
            assert opened.deferred_total > COUNT
            assert opened.dropped_total == {}
        assert await written_ids(disk / "state") == [numbered(number).id for number in range(COUNT)]

    with tmpfs(tmp_path / "disk", "size=8m") as disk:
        run(scenario(disk))
    logged = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert any("it goes on in memory" in each for each in logged)
    assert any("is written again" in each for each in logged)


def test_a_new_operation_finds_the_room(tmp_path):
    """No timer has to pass: what comes after a second tries the disk again."""

    async def scenario(disk: Path) -> None:
        async with journal(disk / "state") as opened:
            opened._writer._clock = lambda: now
            now = 1000.0
            with filled(disk):
                await opened.store(RING, [(1, b"x" * 50_000)])
                assert opened.fault
            await opened.store(RING, [(2, b"")])
            assert opened.fault
            now += 0.1
            await opened.store(RING, [(3, b"")])
            await until(lambda: not opened.fault)
            assert [each.position for each in await opened.submit(records.unfinished)] == [1, 2, 3]

    with tmpfs(tmp_path / "disk", "size=8m") as disk:
        run(scenario(disk))


def test_a_disk_that_fails_while_it_runs(tmp_path):
    """It goes on in memory, and writes what it kept once another file system is in its place."""

    async def scenario(disk: Disk) -> None:
        async with journal(disk.target / "state") as opened:
            await opened.add([row(1)])
            await until(lambda: opened._writer._unsynced_since_s is None)
            disk.fail()
            await opened.store(RING, [(2, b"two")])
            assert await opened.add([row(2), row(2)], [(RING, 2)]) == [True, False]
            await until(lambda: "I/O error" in opened.fault)
            assert opened.in_memory == 2
            disk.replace()
            await until(lambda: not opened.fault)
            assert await opened.add([row(1), row(3)]) == [False, True]
        assert await written_ids(disk.target / "state") == [numbered(number).id for number in (1, 2, 3)]

    with Disk(tmp_path) as disk:
        run(scenario(disk))


def test_a_power_failure_costs_only_what_is_younger_than_the_last_sync(tmp_path):
    """What was committed is made to last within a second, and is whole after the power is gone."""

    async def scenario(disk: Disk) -> None:
        opened = journal_module.Journal(disk.target / "state", journal_module.Retention(boot_id="b"))
        await opened.start()
        for number in range(50):
            await opened.add([row(number)])
        await until(lambda: opened._writer._unsynced_since_s is None, 5)
        disk.fail()
        await opened.close(20)
        disk.replace()
        found = await written_ids(disk.target / "state")
        assert found == [numbered(number).id for number in range(50)]

    with Disk(tmp_path) as disk:
        run(scenario(disk))


def test_a_disk_that_is_read_only_at_the_start(tmp_path):
    """The journal starts in memory, and makes its directory once it can."""

    async def scenario(disk: Path) -> None:
        async with journal(disk / "state") as opened:
            assert "ead-only" in opened.fault
            await opened.store(RING, [(1, b"one")])
            assert await opened.add([row(1), row(1)]) == [True, False]
            assert await opened.submit(records.unfinished) == [RawRecord(RING, 1, b"one")]
            remount(disk, "rw")
            await until(lambda: not opened.fault)
            assert await opened.submit(records.unfinished) == [RawRecord(RING, 1, b"one")]
        assert await written_ids(disk / "state") == [numbered(1).id]

    with tmpfs(tmp_path / "disk", "size=4m,ro") as disk:
        run(scenario(disk))


def test_what_memory_does_not_hold_is_counted(tmp_path, monkeypatch):
    """Raw records go first, then the oldest; what is kept is written in order."""
    monkeypatch.setattr(journal_module, "MOST_WAITING", 100)

    async def scenario(disk: Path) -> None:
        async with journal(disk / "state") as opened:
            with filled(disk):
                for number in range(COUNT):
                    await opened.store(RING, [(number, b"x" * 5000)])
                    assert await opened.add([row(number)], [(RING, number)]) == [True]
                    assert opened.in_memory <= 100
            await until(lambda: not opened.fault)
            dropped = opened.dropped_total
            assert dropped["records"] > dropped["reports"] > 0
            assert set(dropped) == {"records", "reports"}
        kept = COUNT - dropped["reports"]
        assert await written_ids(disk / "state") == [
            numbered(number).id for number in range(COUNT - kept, COUNT)
        ]

    with tmpfs(tmp_path / "disk", "size=8m") as disk:
        run(scenario(disk))


def test_bytes_in_memory_are_bounded_too(tmp_path, monkeypatch):
    """A few large ones are as much as many small ones."""
    monkeypatch.setattr(journal_module, "MOST_WAITING_BYTES", 100_000)

    async def scenario(disk: Path) -> None:
        async with journal(disk / "state") as opened:
            with filled(disk):
                for number in range(30):
                    await opened.store(RING, [(number, b"x" * 10_000)])
                assert opened.in_memory <= 10
            await until(lambda: not opened.fault)
            kept = [each.position for each in await opened.submit(records.unfinished)]
            assert kept == list(range(opened.dropped_total["records"], 30))

    with tmpfs(tmp_path / "disk", "size=8m") as disk:
        run(scenario(disk))


def test_a_stop_with_a_full_disk_says_what_is_lost(tmp_path, caplog):
    """Closing tries once more, and counts what the disk did not take."""

    async def scenario(disk: Path) -> None:
        opened = journal_module.Journal(disk / "state", journal_module.Retention(boot_id="b"))
        await opened.start()
        with filled(disk):
            await opened.store(RING, [(1, b"x" * 50_000)])
            assert await opened.close(20) == 1

    with tmpfs(tmp_path / "disk", "size=8m") as disk:
        run(scenario(disk))
    assert "1 operations of the journal are lost" in caplog.text


def test_a_file_that_somebody_removed_is_made_anew(tmp_path):
    """It is noticed when the commits are to be made to last."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(1)])
            shutil.rmtree(tmp_path / "state")
            await opened.add([row(2)])
            await until(lambda: (tmp_path / "state/journal.db").exists() and not opened.fault)
            await opened.add([row(3)])
        assert await written_ids(tmp_path / "state") == [numbered(3).id]

    run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user: run `sudo make test`")
def test_a_permission_that_is_missing_at_the_start(tmp_path):
    """An agent without the right to make its directory goes on in memory and says why."""
    program = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from oomtracer.journal import Journal, Retention\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "async def main():\n"
        "    journal = Journal(Path(sys.argv[1]), Retention(boot_id='b'))\n"
        "    await journal.start(); print(journal.fault); await journal.store('a', [(1, b'')])\n"
        "    await journal.close()\n"
        "asyncio.run(main())"
    )
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "state")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert "Permission denied" in done.stdout, done.stderr

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from oomtracer.journal import Delivery, Journal, RawRecord, Retention, records, reports
from tests.unit.pipes import run

from .scene import OTHER_RING, RING, Disk, ids, in_pod, journal, numbered, recent_ids, row, until


def test_what_was_stored_is_there_after_a_restart(tmp_path):
    """Raw records without a report come back in the order in which they were stored, over all rings."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as first:
            await first.store(RING, [(5, b"five"), (6, b"six")])
            await first.store(OTHER_RING, [(1, b"one")])
        async with journal(tmp_path / "state") as second:
            assert await second.submit(records.unfinished) == [
                RawRecord(RING, 5, b"five"),
                RawRecord(RING, 6, b"six"),
                RawRecord(OTHER_RING, 1, b"one"),
            ]

    run(scenario())


def test_a_record_that_is_stored_again_changes_nothing(tmp_path):
    """A ring that was read, and not released, before a crash is read again."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.store(RING, [(1, b"one")])
            await opened.add([row(1)], [(RING, 1)])
            await opened.store(RING, [(1, b"another"), (2, b"two")])
            assert await opened.submit(records.unfinished) == [RawRecord(RING, 2, b"two")]
            assert await opened.submit(lambda each: records.last_finished(each, 9)) == [
                RawRecord(RING, 1, b"one")
            ]

    run(scenario())


def test_an_id_is_kept_once(tmp_path):
    """A report whose id is there is dropped, in the same call, in another, and after a restart."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as first:
            assert await first.add([row(1), row(2), row(1)]) == [True, True, False]
        async with journal(tmp_path / "state") as second:
            assert await second.add([row(2), row(3)]) == [False, True]
            assert await second.submit(lambda each: recent_ids(each, 2)) == [
                numbered(2).id,
                numbered(3).id,
            ]

    run(scenario())


def test_records_are_done_with_their_reports(tmp_path):
    """The last ones with a report are told oldest first; the others wait for theirs."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.store(RING, [(seq, b"%d" % seq) for seq in range(5)])
            await opened.add([row(0), row(1)], [(RING, 0), (RING, 1), (RING, 3)])
            assert [each.position for each in await opened.submit(records.unfinished)] == [2, 4]
            last = await opened.submit(lambda each: records.last_finished(each, 2))
            assert [each.position for each in last] == [1, 3]

    run(scenario())


def test_what_is_owed_is_told_in_order_until_it_is_settled(tmp_path):
    """Each delivery is settled by itself, and a restart remembers the rest."""
    both = Delivery.STDOUT | Delivery.MARK

    async def scenario() -> None:
        async with journal(tmp_path / "state") as first:
            await first.add(
                [row(2, pending=both), row(1, pending=Delivery.STDOUT), row(3, pending=Delivery.EVENT)]
            )
            await first.submit(lambda each: reports.settle(each, [numbered(2).id], Delivery.STDOUT))
            await first.submit(lambda each: reports.decide(each, numbered(2).id, "budget_spent"))
        async with journal(tmp_path / "state") as second:
            owed = await second.submit(lambda each: reports.owed(each, Delivery.STDOUT | Delivery.EVENT))
            assert ids(owed) == [numbered(1).id, numbered(3).id]
            [mark] = await second.submit(lambda each: reports.owed(each, Delivery.MARK))
            assert (mark.report, mark.pending, mark.decision) == (
                numbered(2),
                Delivery.MARK,
                "budget_spent",
            )

    run(scenario())


def test_a_pod_that_became_known_is_in_the_row(tmp_path):
    """The report is replaced; what it is owed to stays."""
    known = replace(numbered(1), workload=in_pod())

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(1, pending=Delivery.EVENT)])
            await opened.submit(lambda each: reports.rename(each, known))
            [owed] = await opened.submit(lambda each: reports.owed(each, Delivery.EVENT))
            assert owed.report == known
            columns = await opened.submit(
                lambda each: each.execute(
                    "SELECT namespace, pod, pod_uid, share, unit FROM reports"
                ).fetchone()
            )
            assert columns == ("shop", "web-1", known.workload.pod_uid, known.workload.pod_uid, None)

    run(scenario())


def test_an_operation_that_fails_undoes_itself_alone(tmp_path):
    """Its error goes to who waits for it; those before and behind it, in the same commit, are written."""

    def half(connection) -> None:
        records.store(connection, RING, [(99, b"never")])
        raise KeyError("a defect")

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            gate = threading.Event()
            blocked = opened.submit(lambda _: gate.wait(20))
            before = asyncio.ensure_future(opened.store(RING, [(1, b"one")]))
            await asyncio.sleep(0)
            failing = opened.submit(half)
            wrong = opened.submit(lambda each: each.execute("SELECT no_such_column FROM reports"))
            behind = opened.submit(lambda each: records.store(each, RING, [(2, b"two")]))
            gate.set()
            await asyncio.gather(blocked, before, behind)
            with pytest.raises(KeyError):
                await failing
            with pytest.raises(Exception, match="no_such_column"):
                await wrong
            assert [each.position for each in await opened.submit(records.unfinished)] == [1, 2]
            assert (opened.fault, opened.in_memory) == ("", 0)

    run(scenario())


def test_those_who_wait_share_a_commit(tmp_path):
    """Operations that came while another ran are committed together, in their order."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            gate = threading.Event()
            blocked = opened.submit(lambda _: gate.wait(20))
            seen: list[int] = []
            order = [opened.submit(lambda _, number=number: seen.append(number)) for number in range(100)]
            last = opened.submit(_committed(tmp_path / "state"))
            stored = [asyncio.ensure_future(opened.store(RING, [(seq, b"")])) for seq in range(50)]
            also_last = opened.submit(_committed(tmp_path / "state"))
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(blocked, *order, *stored)
            assert seen == list(range(100))
            # Somebody else who looks while they run sees none of them.
            assert (await last, await also_last) == (0, 0)
            assert await opened.submit(_committed(tmp_path / "state")) == 50

    run(scenario())


def _committed(directory: Path):
    """Build an operation that tells how many raw records another connection sees."""

    def count(_) -> int:
        other = sqlite3.connect(directory / "journal.db")
        try:
            return other.execute("SELECT count(*) FROM records").fetchone()[0]
        finally:
            other.close()

    return count


def test_nobody_else_may_look_into_it(tmp_path):
    """The directory is 0700 and the files are 0600, whatever the umask."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(1)])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
            assert modes == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm"), 0o600)
            assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700

    run(scenario())


def test_a_closed_journal_is_one_file_and_no_thread(tmp_path):
    """Closing takes the log into the file and ends the thread."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            assert [each.name for each in threading.enumerate() if each.name == "journal"] == ["journal"]
            await opened.add([row(1)])
        assert [path.name for path in (tmp_path / "state").iterdir()] == ["journal.db"]
        await until(lambda: all(each.name != "journal" for each in threading.enumerate()))

    run(scenario())


def test_a_disk_that_does_not_answer_holds_up_nobody(tmp_path):
    """Storing and adding go on after their patience, ids are still kept apart, and closing gives up in time."""

    async def scenario() -> None:
        gate = threading.Event()
        async with journal(tmp_path / "state") as opened:
            opened._patience_s = 0.05
            await opened.add([row(1)])
            hanging = opened.submit(lambda _: gate.wait(20))
            await opened.store(RING, [(1, b"one")])
            assert "does not answer" in opened.fault
            assert await opened.add([row(1), row(2)], [(RING, 1)]) == [False, True]
            assert opened.in_memory == 3
            gate.set()
            await hanging
            await until(lambda: not opened.fault)
            assert await opened.submit(records.unfinished) == []
            assert await opened.submit(lambda each: recent_ids(each, 9)) == [
                numbered(1).id,
                numbered(2).id,
            ]

    run(scenario())


def test_a_disk_that_hangs_from_the_start_on(tmp_path):
    """The agent starts without its journal, whose directory is made and written once the disk answers."""

    async def scenario(disk: Disk) -> None:
        opened = Journal(disk.target / "state", Retention(boot_id="b"), patience_s=0.05)
        with disk.frozen():
            await opened.start()
            assert "does not answer" in opened.fault
            await opened.store(RING, [(1, b"one")])
            assert await opened.add([row(1), row(1)]) == [True, False]
        await until(lambda: not opened.fault)
        assert await opened.submit(records.unfinished) == [RawRecord(RING, 1, b"one")]
        assert await opened.close(20) == 0

    with Disk(tmp_path) as disk:
        run(scenario(disk))


def test_a_disk_that_hangs_while_it_runs(tmp_path):
    """The event loop goes on, and nothing is lost that the disk takes in the end."""

    async def scenario(disk: Disk) -> None:
        async with journal(disk.target / "state") as opened:
            opened._patience_s = 0.05
            await opened.add([row(0)])
            with disk.frozen():
                for number in range(1, 50):
                    await opened.store(RING, [(number, b"x" * 100)])
                    assert await opened.add([row(number)], [(RING, number)]) == [True]
                assert "does not answer" in opened.fault
                assert opened.in_memory > 90
            await until(lambda: not opened.fault and not opened.in_memory)
            assert len(await opened.submit(lambda each: recent_ids(each, 99))) == 50

    with Disk(tmp_path) as disk:
        run(scenario(disk))


def test_a_stop_with_a_disk_that_does_not_answer_is_bounded(tmp_path):
    """What the disk did not take in time is told as lost."""

    async def scenario() -> None:
        gate = threading.Event()
        async with journal(tmp_path / "state") as opened:
            hanging = opened.submit(lambda _: gate.wait(20))
            assert await opened.close(0.05) == 1
            gate.set()
            await hanging

    run(scenario())


@pytest.mark.parametrize("bound", ["MOST_WAITING", "MOST_WAITING_BYTES"])
def test_a_disk_that_hangs_for_long_costs_what_does_not_fit_and_nothing_else(tmp_path, monkeypatch, bound):
    """Beyond the bound writes are dropped and counted; nobody who waits, or does not, gets an error of it."""
    monkeypatch.setattr("oomtracer.journal.journal." + bound, {"MOST_WAITING": 10}.get(bound, 10_000))
    gate = threading.Event()

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            opened._patience_s = 0.05
            hanging = opened.submit(lambda _: gate.wait(20))
            for number in range(40):
                assert await opened.store(RING, [(number, b"x" * 1000)]) == [True]
                assert await opened.add([row(number)], [(RING, number)]) == [True]
                opened.submit(lambda each: reports.settle(each, ["nobody"], Delivery.STDOUT))
            assert opened.in_memory <= 10
            assert await opened.ask(records.unfinished, None) is None
            dropped = sum(opened.dropped_total.values())
            assert dropped + opened.in_memory == 122
            assert dropped > 100
            gate.set()
            await hanging
            await until(lambda: not opened.fault)
            assert await opened.add([row(99)]) == [True]

    run(scenario())

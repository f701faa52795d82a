from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from oomtracer.journal import Delivery, ReportRow, Retention, gone, records, reports
from oomtracer.journal.database import Database
from oomtracer.journal.report_json import from_text
from tests.unit.builders import BOOT_ID
from tests.unit.pipes import run

from .scene import RING, in_pod, in_unit, journal, numbered, recent_ids, row, until

HOUR_NS = 3600 * 10**9
MIB = 1 << 20


class Clocks:
    """A wall clock and a boot clock that a test moves."""

    def __init__(self) -> None:
        self.boot = 100 * HOUR_NS
        self.wall = 1_772_368_496 * 10**9

    def pass_by(self, hours: float) -> None:
        """Let both run."""
        self.boot += int(hours * HOUR_NS)
        self.wall += int(hours * HOUR_NS)


@pytest.fixture
def clocks() -> Clocks:
    """Set clocks."""
    return Clocks()


@pytest.fixture
def connection(tmp_path):
    """Open a journal's database without its thread."""
    database = Database(tmp_path / "state")
    opened = database.connect()
    yield opened
    opened.close()
    database.directory.release()


def retention(clocks: Clocks, **limits) -> Retention:
    """Build it on those clocks."""
    return Retention(boot_id=BOOT_ID, wall_ns=lambda: clocks.wall, boot_ns=lambda: clocks.boot, **limits)


def prune(connection: sqlite3.Connection, pruning: Retention) -> int:
    """Do all that there is to do; tell the number of steps."""
    steps = 1
    while pruning.step(connection):
        steps += 1
    return steps


def kept(connection: sqlite3.Connection) -> list[str]:
    """Tell the ids that are there, in order."""
    return recent_ids(connection, 10**6)


def aged(clocks: Clocks, number: int, hours: float, boot: str = BOOT_ID, pending=0) -> ReportRow:
    """Build the row of a kill so many hours ago."""
    us = (clocks.wall - int(hours * HOUR_NS)) // 1000
    base = row(number).report
    shift = (us - reports.time_us(base.time)) // 10**6
    stamped = numbered(number + shift)
    return row(
        number,
        pending=pending,
        id=f"{boot}:{number}:7",
        time=stamped.time,
        boot_time_ns=max(clocks.boot - int(hours * HOUR_NS), 0),
    )


def share_counts(connection: sqlite3.Connection) -> Counter[str]:
    """Tell how many reports each share has."""
    return Counter(dict(connection.execute("SELECT share, count(*) FROM reports GROUP BY share").fetchall()))


def test_reports_of_this_boot_age_by_its_own_clock(connection, clocks):
    """Nobody can make them older by setting the time."""
    pruning = retention(clocks, max_age_s=10 * 3600)
    reports.add(connection, [aged(clocks, 1, 11), aged(clocks, 2, 9), aged(clocks, 3, 0)])
    clocks.wall += 10_000 * HOUR_NS
    prune(connection, pruning)
    assert kept(connection) == [f"{BOOT_ID}:2:7", f"{BOOT_ID}:3:7"]
    clocks.wall = 0
    clocks.pass_by(2)
    prune(connection, pruning)
    assert kept(connection) == [f"{BOOT_ID}:3:7"]
    assert pruning.evicted == {"age": 2}


def test_reports_of_other_boots_age_by_a_wall_clock_that_is_steady(connection, clocks):
    """A clock that jumped is not believed before it has run for an hour."""
    pruning = retention(clocks, max_age_s=10 * 3600)
    reports.add(connection, [aged(clocks, 1, 11, "before"), aged(clocks, 2, 1, "before")])
    prune(connection, pruning)
    assert len(kept(connection)) == 2
    clocks.wall += 10_000 * HOUR_NS
    clocks.pass_by(0.9)
    prune(connection, pruning)
    clocks.wall -= 10_000 * HOUR_NS
    clocks.pass_by(0.9)
    prune(connection, pruning)
    assert len(kept(connection)) == 2
    clocks.pass_by(1)
    prune(connection, pruning)
    assert kept(connection) == ["before:2:7"]


def test_what_is_owed_does_not_age(connection, clocks):
    """A report whose delivery is still to come stays."""
    pruning = retention(clocks, max_age_s=3600)
    reports.add(connection, [aged(clocks, 1, 5, pending=Delivery.EVENT), aged(clocks, 2, 5)])
    prune(connection, pruning)
    assert kept(connection) == [f"{BOOT_ID}:1:7"]


def test_the_largest_share_loses_its_oldest(connection, clocks):
    """A pod in a loop makes room for itself, and costs no other workload its history."""
    pruning = retention(clocks, max_bytes=MIB)
    loop = in_pod("loop", uid="a" * 36)
    others = [row(number, workload=in_unit(f"unit-{number}.service")) for number in range(20)]
    reports.add(connection, others)
    for start in range(100, 2000, 100):
        reports.add(connection, [row(number, workload=loop) for number in range(start, start + 100)])
        prune(connection, pruning)
    there = kept(connection)
    assert there[:20] == [each.report.id for each in others]
    rest = there[20:]
    assert rest == [numbered(number).id for number in range(2000 - len(rest), 2000)]
    assert len(rest) > 100
    assert set(pruning.evicted) == {"size"}


def test_equal_shares_lose_equally(connection, clocks):
    """No step takes more from one than from another of the same size."""
    pruning = retention(clocks, max_bytes=MIB)
    reports.add(
        connection, [row(number, workload=in_unit(f"unit-{number % 10}.service")) for number in range(1000)]
    )
    prune(connection, pruning)
    counts = share_counts(connection)
    assert len(counts) == 10
    assert max(counts.values()) - min(counts.values()) <= 1


def test_what_is_owed_goes_last(connection, clocks):
    """Only where deliveries to come exceed the bound by themselves the oldest of them go, and are counted apart."""
    pruning = retention(clocks, max_bytes=MIB)
    reports.add(connection, [row(number, pending=Delivery.MARK) for number in range(100)])
    reports.add(connection, [row(number) for number in range(100, 1000)])
    prune(connection, pruning)
    assert kept(connection)[:100] == [numbered(number).id for number in range(100)]
    assert set(pruning.evicted) == {"size"}
    reports.add(connection, [row(number, pending=Delivery.MARK) for number in range(1000, 2000)])
    prune(connection, pruning)
    assert pruning.evicted["owed"] > 0
    assert kept(connection)[-1] == numbered(1999).id


def test_raw_records_are_kept_for_the_last_reports_only(connection, clocks):
    """The newest 512 that are done stay, and all that are not done."""
    pruning = retention(clocks)
    records.store(connection, RING, [(seq, b"x") for seq in range(2000)])
    records.finish(connection, [(RING, seq) for seq in range(2000) if seq % 100])
    prune(connection, pruning)
    assert [each.position for each in records.unfinished(connection)] == list(range(0, 2000, 100))
    done = [each.position for each in records.last_finished(connection, 10**6)]
    assert done == [seq for seq in range(2000) if seq % 100][-512:]


def test_a_smaller_bound_makes_the_file_smaller(connection, clocks, tmp_path):
    """Pages beyond the bound go back to the file system."""
    reports.add(connection, [row(number) for number in range(2000)])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = (tmp_path / "state/journal.db").stat().st_size
    assert before > 3 * MIB
    prune(connection, retention(clocks, max_bytes=MIB))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert (tmp_path / "state/journal.db").stat().st_size <= MIB


def test_a_step_is_small(connection, clocks):
    """Many rows go in many steps."""
    reports.add(connection, [row(number) for number in range(2000)])
    assert prune(connection, retention(clocks, max_bytes=MIB)) >= 8


def test_a_storm_does_not_grow_the_file_beyond_its_bound(tmp_path):
    """Without an idle moment: the file and its log stay near the bound, and the last report is there."""
    bound = 4 * MIB
    sizes: list[int] = []

    async def scenario() -> None:
        async with journal(tmp_path / "state", max_bytes=bound) as opened:
            pending: set[asyncio.Future] = set()
            for start in range(0, 6000, 20):
                batch = range(start, start + 20)
                loop = in_pod("loop", uid="a" * 36)
                raw = asyncio.ensure_future(opened.store(RING, [(each, b"x" * 3000) for each in batch]))
                added = asyncio.ensure_future(
                    opened.add([row(each, workload=loop) for each in batch], [(RING, each) for each in batch])
                )
                pending |= {raw, added}
                if len(pending) > 8:
                    _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    sizes.append(_bytes(tmp_path / "state"))
            await asyncio.gather(*pending)
            assert opened.evicted_total["size"] > 0
            assert (await opened.submit(lambda each: recent_ids(each, 1))) == [numbered(5999).id]
            await until(lambda: opened._retention.due_in_s() > 60)
            assert len(await opened.submit(lambda each: records.last_finished(each, 10**6))) == bound // (
                32 << 10
            )

    run(scenario())
    # The log holds up to 4 MiB before it is taken into the file.
    assert max(sizes) < bound * 1.25 + 6 * MIB
    assert (tmp_path / "state/journal.db").stat().st_size <= bound * 1.1


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if not path.name.endswith("-shm"))


def test_an_idle_journal_sleeps(tmp_path):
    """Once all is written, made to last and pruned, the thread waits for the next hour or operation."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(1)])
            await until(lambda: opened._thread._wait_s() > 3000)

    run(scenario())


def test_a_kept_report_is_whole(connection, clocks):
    """What pruning leaves can be read."""
    pruning = retention(clocks, max_bytes=MIB)
    reports.add(connection, [row(number) for number in range(1000)])
    prune(connection, pruning)
    for report_id, text in connection.execute("SELECT id, report FROM reports"):
        assert from_text(text).id == report_id


def test_what_leaves_stays_known_by_a_few_bytes(connection):
    """Its victim and time, of the newest; of the others only until when; of another boot nothing."""
    reports.add(connection, [row(number, boot_time_ns=1000 + number) for number in range(10)])
    for first in (0, 5):
        which = "SELECT n FROM reports ORDER BY n LIMIT 5 OFFSET ?"
        gone.note(connection, BOOT_ID, which, (first,), kept=7)
    assert [found[-1] for found in gone.of_boot(connection, BOOT_ID)] == list(range(1003, 1010))
    assert gone.until_ns(connection, BOOT_ID) == 1002
    [victim, *_] = gone.of_boot(connection, BOOT_ID)
    assert victim[:3] == reports.of_boot(connection, BOOT_ID)[3][1:4]
    assert (gone.of_boot(connection, "another"), gone.until_ns(connection, "another")) == ([], 0)
    gone.note(connection, "another", "SELECT n FROM reports", (), kept=7)
    assert (gone.of_boot(connection, BOOT_ID), gone.of_boot(connection, "another")) == ([], [])

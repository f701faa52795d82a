from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from oomtracer.deliveries import RememberedMark, RememberedSeries, Told
from oomtracer.events import Owner
from oomtracer.journal import Delivery
from oomtracer.journal.event_table import MOST_SERIES, MOST_TOLD, EventTable
from oomtracer.journal.mark_table import MOST_MARKS, MarkTable
from oomtracer.journal.reports import owed
from oomtracer.kernel.moments import Moments
from tests.unit.builders import BOOT_ID
from tests.unit.pipes import run

from .scene import journal, numbered, row

BOTH = Delivery.MARK | Delivery.EVENT
MARK = RememberedMark(
    incident="boot:1:1",
    pod_uid="uid-1",
    namespace="shop",
    owner=Owner(kind="Deployment", name="shop"),
    reason="node_out_of_memory",
    ago_s=0.0,
)
SERIES = RememberedSeries(
    name="shop-0.abc", key='["uid"]', event="{}", count=1, last_time="t", told=0, ago_s=0.0
)


class Clocks:
    """Times of a test: ``boot_s`` and ``unix_s`` are what the clocks say."""

    def __init__(self) -> None:
        self.boot_s = 1_000.0
        self.unix_s = 1_780_000_000.0

    def moments(self, boot_id: str = BOOT_ID) -> Moments:
        """Build the times of one process."""
        return Moments(boot_id, boot_clock=lambda: self.boot_s, unix_clock=lambda: self.unix_s)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.boot_s += seconds
        self.unix_s += seconds


def test_marks_come_back_with_their_age(tmp_path):
    """What was made, and what was sent and is in doubt; what was neither made nor is in doubt is forgotten."""
    clocks = Clocks()

    async def scenario() -> None:
        async with journal(tmp_path / "state") as first:
            table = MarkTable(first.submit, clocks.moments())
            for number in range(4):
                bare = replace(MARK, incident=f"boot:{number}:1", pod_uid=f"uid-{number}", owner=None)
                await table.sending(
                    replace(bare, ago_s=5.0) if number else replace(MARK, incident="boot:0:1")
                )
                clocks.pass_(10.0)
            table.ended("r0", "boot:0:1", "node_out_of_memory:annotation_applied", made=True, in_doubt=False)
            table.ended("r1", "boot:1:1", "node_out_of_memory:expired", made=False, in_doubt=True)
            table.ended("r2", "boot:2:1", "node_out_of_memory:forbidden", made=False, in_doubt=False)
        clocks.pass_(100.0)
        async with journal(tmp_path / "state") as second:
            marks = await MarkTable(second.submit, clocks.moments()).load()
            told = [(each.incident, each.ago_s, each.is_made, each.owner) for each in marks]
            assert told == [
                ("boot:0:1", 140.0, True, MARK.owner),
                ("boot:1:1", 135.0, False, None),
                ("boot:3:1", 115.0, False, None),
            ]

    run(scenario())


def test_ages_outlive_a_restart_of_the_node(tmp_path):
    """The boot clock begins anew, Unix time goes on; where that was set back, nothing is younger than now."""
    clocks = Clocks()

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await MarkTable(opened.submit, clocks.moments()).sending(MARK)
            clocks.pass_(60.0)
            clocks.boot_s = 5.0
            other = MarkTable(opened.submit, clocks.moments("another boot"))
            assert [each.ago_s for each in await other.load()] == [60.0]
            clocks.unix_s -= 3_600.0
            assert [each.ago_s for each in await other.load()] == [0.0]
            clocks.unix_s += 7_200.0
            clocks.boot_s = 1_060.0
            # Of one boot the time of day does not matter.
            assert [each.ago_s for each in await MarkTable(opened.submit, clocks.moments()).load()] == [60.0]

    run(scenario())


def test_a_report_is_owed_until_its_parts_have_ended(tmp_path):
    """The mark's and the Event's part end independently of each other, and the decision is kept."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.add([row(number, pending=BOTH) for number in range(4)])
            marks, events = (
                MarkTable(opened.submit, Moments(BOOT_ID)),
                EventTable(opened.submit, Moments(BOOT_ID)),
            )
            marks.decided(numbered(0).id, "too_young")
            events.finished([numbered(0).id, numbered(1).id])
            marks.ended(numbered(2).id, "i", "node_out_of_memory:expired", made=False, in_doubt=True)
            events.recorded(SERIES, Told("i", "uid", "kills"), [numbered(3).id])
            left = await opened.submit(lambda each: owed(each, BOTH))
            assert [(each.report.id, each.pending, each.decision) for each in left] == [
                (numbered(1).id, Delivery.MARK, ""),
                (numbered(2).id, Delivery.EVENT, "node_out_of_memory:expired"),
                (numbered(3).id, Delivery.MARK, ""),
            ]

    run(scenario())


def test_series_come_back_in_the_order_in_which_they_began(tmp_path):
    """With what was told of them; those that ended do not."""
    clocks = Clocks()

    async def scenario() -> None:
        async with journal(tmp_path / "state") as first:
            table = EventTable(first.submit, clocks.moments())
            for number in (2, 0, 1, 2, 2):
                count = 3 if number == 2 else 1
                series = replace(SERIES, name=f"s{number}", count=count, last_time=f"t{clocks.boot_s:g}")
                table.recorded(series, Told(f"i{clocks.boot_s}", "uid", "kills"), [])
                clocks.pass_(1.0)
            table.told("s2", 2)
            table.told("s0", 1)
            table.told("s0", 0)
            table.ended("s1")
        async with journal(tmp_path / "state") as second:
            remembered = await EventTable(second.submit, clocks.moments()).load()
            told = [
                (each.name, each.count, each.told, each.last_time, each.ago_s) for each in remembered.series
            ]
            assert told == [("s2", 3, 2, "t1004", 1.0), ("s0", 1, 0, "t1001", 4.0)]
            assert remembered.told == tuple(Told(f"i{1_000.0 + each}", "uid", "kills") for each in range(5))

    run(scenario())


def test_the_tables_are_bounded(tmp_path):
    """The oldest rows go."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            marks, events = (
                MarkTable(opened.submit, Moments(BOOT_ID)),
                EventTable(opened.submit, Moments(BOOT_ID)),
            )
            for number in range(MOST_MARKS + 3):
                # Without waiting for each: they are written in their order.
                sending = asyncio.ensure_future(marks.sending(replace(MARK, incident=str(number))))
                events.recorded(replace(SERIES, name=str(number)), Told(str(number), "uid", "kills"), [])
            await sending
            assert {int(each.incident) for each in await marks.load()} == set(range(3, MOST_MARKS + 3))
            remembered = await events.load()
            assert [int(each.incident) for each in remembered.told] == list(range(3, MOST_TOLD + 3))
            assert len(remembered.series) == MOST_SERIES
            assert remembered.series[-1].name == str(MOST_MARKS + 2)

    run(scenario())


def test_a_mark_waits_for_its_row_and_not_for_a_disk_that_hangs(tmp_path):
    """``sending`` returns when the row is committed, or after a second."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            table = MarkTable(opened.submit, Moments(BOOT_ID))
            await table.sending(MARK)
            assert len(await table.load()) == 1
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        hung = MarkTable(lambda *_, **__: never, Moments(BOOT_ID))
        async with asyncio.timeout(5.0):
            await hung.sending(MARK)
        never.cancel()

    run(scenario())


@pytest.mark.parametrize("times", [1, 3])
def test_what_the_journal_refuses_is_said_once(tmp_path, caplog, times):
    """An operation that fails costs a repetition after a restart, and no exception goes unnoticed."""

    async def scenario() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.submit(lambda each: each.execute("DROP TABLE series").fetchall())
            table = EventTable(opened.submit, Moments(BOOT_ID))
            for _ in range(times):
                table.told("s", 1)
            await opened.submit(lambda each: each.execute("SELECT 1").fetchone())
            assert table.failed == times

    with caplog.at_level(logging.ERROR, logger="oomtracer.journal"):
        run(scenario())
    [line] = [each.getMessage() for each in caplog.records if "delivery" in each.getMessage()]
    assert line.startswith("the state of a delivery was not kept, it may be repeated: ")

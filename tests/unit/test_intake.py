from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import pytest

from oomtracer.errors import OomTracerError
from oomtracer.libbpf import RingRecord
from oomtracer.pipeline import Intake
from oomtracer.tracer import Batch

from . import records
from .pipes import run
from .test_pipeline import Kept, pipeline


@dataclass
class Ring:
    """A source in memory: what was read and not released is still there for the next reader."""

    events: list[str]
    waiting: deque[RingRecord] = field(default_factory=deque)
    read_until: int = 0
    endless: bool = False
    damaged: bool = False
    written: int = 0
    woken: asyncio.Event | None = None

    def write(self, pid: int) -> None:
        """The kernel kills one."""
        self.written += 1
        data = records.record(seq=self.written, victim_tgid=pid)
        self.waiting.append(RingRecord(self.written * 64, data))
        if self.woken:
            self.woken.set()

    def read(self) -> Batch:
        """Two at a time."""
        if self.damaged:
            raise OomTracerError("the ring buffer is damaged")
        if self.endless:
            self.write(self.written + 1)
        found = [each for each in self.waiting if each.position > self.read_until][:2]
        if found:
            self.read_until = found[-1].position
            self.events.append("read")
        return Batch("ring", found)

    def release(self) -> None:
        """Forget what was read."""
        while self.waiting and self.waiting[0].position <= self.read_until:
            self.waiting.popleft()
            self.events.append("release")

    async def readable(self, woken: asyncio.Event) -> None:
        """Wait for a kill, unless one waits already."""
        self.woken = woken
        if not any(each.position > self.read_until for each in self.waiting):
            await woken.wait()


@dataclass
class Book:
    """A journal in memory."""

    events: list[str]
    stored: set[int] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)

    async def store(self, batch: Batch) -> list[bool]:
        """Keep raw records."""
        await asyncio.sleep(0)
        self.events.append("store")
        new = [each.position not in self.stored for each in batch.records]
        self.stored |= {each.position for each in batch.records}
        return new

    async def enter(self, _ring: str, told) -> list[bool]:
        """Keep reports."""
        await asyncio.sleep(0)
        self.events.append("enter")
        new = [bool(each.report) and each.report.id not in self.ids for each in told]
        self.ids |= {each.report.id for each in told if each.report}
        return new


class Telling(Kept):
    """A sink that takes note of when it is told."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events

    def emit(self, report) -> None:
        """Keep one."""
        self.events.append("tell")
        super().emit(report)

    @property
    def pids(self) -> list[int]:
        """Whose kills were told."""
        return [report.victim.pid for report in self.reports]


def test_stored_then_released_then_attributed_then_kept_then_told():
    """A record leaves the kernel only once it is stored, a report goes out only once it is kept."""

    async def scenario() -> None:
        events: list[str] = []
        ring, sink = Ring(events), Telling(events)
        ring.write(7)
        await Intake(ring, pipeline(sink), Book(events)).finish()
        assert events == ["read", "store", "release", "enter", "tell"]

    run(scenario())


def test_without_a_journal_it_is_told_all_the_same():
    """All that waits is taken, in the kernel's order, and released."""

    async def scenario() -> None:
        ring, sink = Ring([]), Telling([])
        for pid in (7, 8, 9):
            ring.write(pid)
        intake = Intake(ring, pipeline(sink))
        await intake.finish()
        assert (sink.pids, len(ring.waiting), intake.caught_up.is_set()) == ([7, 8, 9], 0, True)

    run(scenario())


def test_a_record_that_is_stored_already_is_not_told_again():
    """Who was killed between storing and releasing reads it once more; it was taken up at the start."""

    async def scenario() -> None:
        ring, sink = Ring([]), Telling([])
        ring.write(7)
        ring.write(8)
        mine = pipeline(sink)
        await Intake(ring, mine, Book([], stored={64})).finish()
        assert sink.pids == [8]
        assert (mine.observed, mine.missing, len(ring.waiting)) == (1, 0, 0)

    run(scenario())


def test_a_report_that_is_kept_already_is_not_told_again():
    """A kill that two rings have seen has one id."""

    async def scenario() -> None:
        ring, sink, book = Ring([]), Telling([]), Book([])
        ring.write(7)
        await Intake(ring, pipeline(sink), book).finish()
        again = Ring([])
        again.write(7)
        again.waiting[0] = again.waiting[0]._replace(position=999)
        other = Telling([])
        await Intake(again, pipeline(other), book).finish()
        assert (sink.pids, other.pids) == ([7], [])

    run(scenario())


def test_it_takes_what_comes_until_it_is_stopped():
    """It waits without turning, and ends when it is told to, whether it waits or works."""

    async def scenario() -> None:
        ring, sink = Ring([]), Telling([])
        intake = Intake(ring, pipeline(sink))
        task = asyncio.create_task(intake.run())
        await intake.caught_up.wait()
        ring.write(7)
        intake.caught_up.clear()
        await intake.caught_up.wait()
        assert sink.pids == [7]
        intake.stop()
        await asyncio.wait_for(task, 5)

    run(scenario())


def test_pinned_programs_do_not_hold_up_the_end():
    """While the kernel goes on recording, the last look has a deadline."""

    async def scenario() -> None:
        ring, sink = Ring([], endless=True), Telling([])
        await asyncio.wait_for(Intake(ring, pipeline(sink)).finish(0.05), 20)
        assert sink.pids

    run(scenario())


def test_a_ring_that_cannot_be_read_ends_it():
    """The error reaches who waits for the task."""

    async def scenario() -> None:
        with pytest.raises(OomTracerError, match="damaged"):
            await Intake(Ring([], damaged=True), pipeline()).run()

    run(scenario())

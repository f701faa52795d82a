"""What is kept in the journal, and when it is no longer owed to anybody."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from oomtracer.audit import PROGRAM_STAGES, UNSEEN
from oomtracer.backfill import KnownKill, is_near
from oomtracer.journal import Delivery, ReportRow, audits, reports
from oomtracer.journal import records as raw
from oomtracer.journal.told import ToldFile, was_told
from oomtracer.kernel.clock import boot_clock_ns, suspended_ns

if TYPE_CHECKING:
    from pathlib import Path

    from oomtracer.app.cluster import ClusterHalf
    from oomtracer.audit import Verdict
    from oomtracer.events import OomReport
    from oomtracer.journal import Journal
    from oomtracer.pipeline import Attributed
    from oomtracer.pipeline.intake import Batch
    from oomtracer.sinks import Sink

_COUNTS = ("reason", "before_start", "kernel_kills", "program_kills", "second_kills", "lost")


class JournalBook:
    """The pipeline's ``Book``. Reports are owed to standard output, and to ``owed_to``."""

    def __init__(
        self, journal: Journal, *, directory: Path, boot_id: str, owed_to: ClusterHalf | None
    ) -> None:
        self._told_file = ToldFile(directory / "told")
        self._told_before = self._told_file.known()
        self._journal = journal
        self._boot_id = boot_id
        self._owed_to = owed_to
        self._counts: Mapping[str, object] = {}
        self._of_log: defaultdict[tuple[int, str], list[KnownKill]] = defaultdict(list)
        self._started_ns = boot_clock_ns()

    async def store(self, batch: Batch) -> Sequence[bool]:
        """Keep raw records, and tell which were not there yet."""
        records = [(record.position, record.data) for record in batch.records]
        return await self._journal.store(self._ring(batch.ring), records)

    async def enter(self, ring: str, told: Sequence[Attributed]) -> Sequence[bool]:
        """Keep the reports of stored records, and tell which were not there yet."""
        news = [each.report if each.report and not self._was_in_log(each.report) else None for each in told]
        rows = [ReportRow(report=report, pending=self._owed(report)) for report in news if report]
        done = [(self._ring(ring), each.position) for each in told]
        added = iter(await self._journal.add(rows, done))
        return [bool(report) and next(added) for report in news]

    async def recall_log(self) -> None:
        """Know what agents before this one have told from the kernel's log: a ring that they could not read may have it."""
        nothing: list[tuple[str, int, int | None, str, int]] = []
        rows = await self._journal.ask(lambda each: reports.of_log(each, self._boot_id), nothing)
        for kill in map(KnownKill.of, rows):
            self._of_log[kill.pid, kill.comm].append(kill)

    def _was_in_log(self, report: OomReport) -> bool:
        if not self._of_log or report.boot_time_ns >= self._started_ns:
            return False
        victim = report.victim
        for pid in {victim.pid, victim.tid}:
            told = self._of_log.get((pid, victim.comm), [])
            for i, known in enumerate(told):
                if is_near(known, report.boot_time_ns, suspended_ns()):
                    del told[i]  # there is one line for each kill
                    return True
        return False

    def _owed(self, report: OomReport) -> Delivery:
        # Nothing is done about a kill that we made ourselves.
        if self._owed_to is None or report.selftest:
            return Delivery.STDOUT
        return Delivery.STDOUT | self._owed_to.owed

    def once(self, sink: Sink) -> Sink:
        """The same sink without what a process before this one has told, even where the journal does not know it."""
        return _Once(sink, self)

    def was_told(self, report: OomReport) -> bool:
        """Whether standard output has taken a report in another process."""
        return was_told(report.id, self._told_before)

    def told(self, report: OomReport) -> None:
        """Standard output has taken a report."""
        self._told_file.note(report.id)
        self._journal.submit(
            lambda connection: reports.settle(connection, [report.id], Delivery.STDOUT), kind="deliveries"
        )

    def keep_verdict(self, ring: str, attached_ns: int, verdict: Verdict) -> None:
        """Keep what the counts say, where they say something new."""
        counts = {name: getattr(verdict, name) for name in _COUNTS}
        if counts == self._counts:
            return
        self._counts = counts
        now_us = time.time_ns() // 1_000
        age_us = (boot_clock_ns() - attached_ns) // 1_000
        row = audits.AuditRow(
            ring=ring,
            boot_id=self._boot_id,
            since_ns=attached_ns,
            since_us=now_us - age_us,
            until_us=now_us,
            counts=counts,
        )
        self._journal.submit(lambda connection: audits.keep(connection, row), kind="audit")

    async def losses_told(self, ring: str, replaced: Sequence[str]) -> Mapping[str, int]:
        """The losses of a ring that a process before this one has logged, and what those it replaced had not seen."""
        lost = await self._lost_of(ring)
        for other in () if lost else reversed(replaced):
            if unseen := (await self._lost_of(other)).get(UNSEEN):
                return {UNSEEN: unseen}
        return {stage: count for stage, count in lost.items() if stage in (UNSEEN, *PROGRAM_STAGES)}

    async def _lost_of(self, ring: str) -> Mapping[str, int]:
        row = await self._journal.ask(lambda connection: audits.of_ring(connection, ring), None)
        return row.counts.get("lost", {}) if row else {}

    def begin(self, ring: str) -> None:
        """A ring is new."""
        name = self._ring(ring)
        self._journal.submit(lambda connection: raw.begin(connection, name), kind="records")

    async def stored(self, ring: str) -> int | None:
        """How many records of a ring were stored, by all processes; less than 0 where the journal is younger than it.

        None where the journal does not know the ring, or does not answer.
        """
        name = self._ring(ring)
        return await self._journal.ask(lambda connection: raw.stored(connection, name), None)

    def write_off(self, ring: str, count: int) -> None:
        """So many of its records will never be stored."""
        name = self._ring(ring)
        self._journal.submit(lambda connection: raw.count_stored(connection, name, count), kind="records")

    def is_sound(self) -> bool:
        """Whether what it says is what was stored."""
        return not self._journal.fault

    def _ring(self, name: str) -> str:
        # Records of another boot are not ours to attribute: see resume.py.
        return f"{self._boot_id}/{name}"


class _Once:
    """Tells a report, unless it was told."""

    def __init__(self, sink: Sink, book: JournalBook) -> None:
        self._sink = sink
        self._book = book

    def emit(self, report: OomReport) -> None:
        """Take one report."""
        if self._book.was_told(report):
            self._book.told(report)
        else:
            self._sink.emit(report)

"""What the cluster half leaves in the journal, and takes up again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from oomtracer.deliveries import RememberedMark
from oomtracer.events import OomReport, WorkloadKind
from oomtracer.kernel import facts
from oomtracer.kernel.clock import boot_clock
from oomtracer.kernel.moments import Moments
from oomtracer.pipeline import Naming, Ways
from oomtracer.sinks import Sink
from oomtracer.sinks.ages import Ages
from oomtracer.sinks.kube_events import EventSink
from oomtracer.sinks.mark import MarkSink

if TYPE_CHECKING:
    from oomtracer.journal import Delivery, Journal, PendingReport
    from oomtracer.journal.event_table import EventTable
    from oomtracer.journal.mark_table import MarkTable


logger = logging.getLogger("oomtracer.app")

PATIENCE_S = 10.0
"""What the start waits for the journal's disk."""


class Names:
    """A sink of reports whose names are complete: the journal had them without."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def emit(self, report: OomReport) -> None:
        """Keep it in the place of what was known before."""
        from oomtracer.journal import reports

        if report.workload.kind is WorkloadKind.POD:
            self._journal.submit(lambda each: reports.rename(each, report), kind="reports")


class Outboxes:
    """The outboxes of marks and Events; without a journal there are none."""

    def __init__(
        self,
        journal: Journal | None,
        *,
        boot_id: str | None = None,
        boot_clock: Callable[[], float] = boot_clock,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        boot_id = boot_id or facts.boot_id()
        self.keeps = journal is not None
        self._journal = journal
        self._is_unknown = False
        moments = Moments(boot_id, boot_clock=boot_clock, unix_clock=unix_clock)
        self.ages = Ages(moments)
        self.names: Sink | None = None
        self.marks: MarkTable | None = None
        self.events: EventTable | None = None
        if journal is not None:
            # Imported here: who has no journal does without SQLite.
            from oomtracer.journal.event_table import EventTable
            from oomtracer.journal.mark_table import MarkTable

            self.marks = MarkTable(journal.submit, moments)
            self.events = EventTable(journal.submit, moments)

    async def restore(self, marks: MarkSink, events: EventSink | None, *, budget: int) -> None:
        """Hand the sinks what earlier processes left of marks and Events.

        Where the journal cannot say, ``budget`` marks are taken as made just now, and nothing is taken up before
        the next start.
        """
        if self.marks is None or self.events is None or self._journal is None:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                made, told = await self.marks.load(), await self.events.load()
        except TimeoutError:
            self._is_unknown = True
        if self._is_unknown or self._journal.fault:
            self._is_unknown = True
            logger.error(
                "the journal does not say which marks were made before: their budget counts as spent"
            )
            marks.restore([_unknown_mark(number) for number in range(budget)])
            return
        marks.restore(made)
        if events:
            events.restore(told)

    def resume(
        self, owed: Sequence[PendingReport], naming: Naming, marks: MarkSink, events: EventSink | None
    ) -> None:
        """Emit reports of earlier processes again, to the sinks that they are owed to."""
        for each in () if self._is_unknown else owed:
            named, complete = self._to_marks(each, marks), self._to_events(each, events)
            if named or complete:
                complete += [self.names] if self.names else []
                ways = Ways(named=named, complete=complete)
                naming.resume(each.report, ways, age_s=self.ages(each.report))

    def _to_marks(self, owed: PendingReport, marks: MarkSink) -> list[Sink]:
        from oomtracer.journal import Delivery

        if Delivery.MARK not in owed.pending:
            marks.recall(owed.report, owed.decision)
        elif self.ages.is_of_this_boot(owed.report):
            return [marks]
        else:
            marks.give_up(owed.report)
        return []

    def _to_events(self, owed: PendingReport, events: EventSink | None) -> list[Sink]:
        from oomtracer.journal import Delivery

        if Delivery.EVENT not in owed.pending:
            return []
        if events:
            events.resume(owed.report)
            return [events]
        if self.events:  # they are switched off now
            self.events.finished([owed.report.id])
        return []


def _unknown_mark(number: int) -> RememberedMark:
    name = f"unknown-{number}"
    return RememberedMark(
        incident=name, pod_uid=name, namespace="", owner=None, reason="", ago_s=0.0, is_made=True
    )


def owed_by(events: EventSink | None) -> Delivery:
    """The deliveries of the cluster half that a new report is owed to."""
    from oomtracer.journal import Delivery

    return Delivery.MARK | Delivery.EVENT if events else Delivery.MARK

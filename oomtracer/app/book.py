"""What is kept in the journal, and when it is no longer owed to anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oomtracer.journal import Delivery, ReportRow, reports

if TYPE_CHECKING:
    from oomtracer.app.cluster import ClusterHalf
    from oomtracer.events import OomReport
    from oomtracer.journal import Journal
    from oomtracer.pipeline import Attributed
    from oomtracer.pipeline.intake import Batch


class JournalBook:
    """The pipeline's ``Book``. Reports are owed to standard output, and to ``owed_to``."""

    def __init__(self, journal: Journal, *, boot_id: str, owed_to: ClusterHalf | None) -> None:
        self._journal = journal
        self._boot_id = boot_id
        self._owed_to = owed_to

    async def store(self, batch: Batch) -> Sequence[bool]:
        """Keep raw records, and tell which were not there yet."""
        records = [(record.position, record.data) for record in batch.records]
        return await self._journal.store(self._ring(batch.ring), records)

    async def enter(self, ring: str, told: Sequence[Attributed]) -> Sequence[bool]:
        """Keep the reports of stored records, and tell which were not there yet."""
        owed = Delivery.STDOUT | (self._owed_to.owed if self._owed_to else Delivery.NONE)
        rows = [ReportRow(report=each.report, pending=owed) for each in told if each.report]
        done = [(self._ring(ring), each.position) for each in told]
        added = iter(await self._journal.add(rows, done))
        return [bool(each.report) and next(added) for each in told]

    def told(self, report: OomReport) -> None:
        """Standard output has taken a report."""
        self._journal.submit(
            lambda connection: reports.settle(connection, [report.id], Delivery.STDOUT), kind="deliveries"
        )

    def renamed(self, report: OomReport) -> None:
        """More is known of a report than when it was entered."""
        self._journal.submit(lambda connection: reports.rename(connection, report), kind="reports")

    def _ring(self, name: str) -> str:
        # Records of another boot are not ours to attribute: see resume.py.
        return f"{self._boot_id}/{name}"

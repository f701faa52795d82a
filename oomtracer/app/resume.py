"""What the agent before this one left: records without a report, and reports that nobody was told."""

from __future__ import annotations

import asyncio
import logging
from itertools import groupby
from typing import TYPE_CHECKING

from oomtracer.journal import Delivery, reports
from oomtracer.journal import records as raw
from oomtracer.journal.told import was_told
from oomtracer.libbpf import RingRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from oomtracer.events import OomReport
    from oomtracer.journal import Journal, PendingReport, RawRecord
    from oomtracer.pipeline import Intake, Pipeline

logger = logging.getLogger("oomtracer.app")

# Enough for the incident that a crash fell into.
_RECALLED = 512


class Resume:
    """Read from the journal before anything new is written to it."""

    def __init__(
        self, finished: Sequence[RawRecord], unfinished: Sequence[RawRecord], owed: Sequence[PendingReport]
    ) -> None:
        self.owed = owed
        """Reports that are owed to somebody, in the order of their kills."""
        self._finished = finished
        self._unfinished = unfinished

    def untold(self, journal: Journal, told: frozenset[bytes]) -> list[OomReport]:
        """Reports that standard output has not taken; ``told`` are those of which only the journal does not know."""
        pending = [each.report for each in self.owed if Delivery.STDOUT in each.pending]
        known = [report.id for report in pending if was_told(report.id, told)]
        journal.submit(lambda each: reports.settle(each, known, Delivery.STDOUT), kind="deliveries")
        return [report for report in pending if report.id not in known]

    def waive(self, journal: Journal) -> None:
        """There is no cluster any more that marks and Events could go to."""
        ids = [each.report.id for each in self.owed]
        journal.submit(
            lambda each: reports.settle(each, ids, Delivery.MARK | Delivery.EVENT), kind="deliveries"
        )

    async def attribute(self, boot_id: str, pipeline: Pipeline, intake: Intake) -> int:
        """Make the reports of records that had none, and hand them on. Returns how many cannot be made."""
        for each in self._finished:
            boot, _, ring = each.ring.partition("/")
            if boot == boot_id:
                pipeline.recall(ring, each.record)
        lost = 0
        for (boot, ring), group in groupby(self._unfinished, key=_boot_and_ring):
            records = [RingRecord(each.position, each.record) for each in group]
            if boot == boot_id:
                await intake.take(ring, records)
            else:
                lost += len(records)
                logger.error("%d kills before the last reboot were stored, and not told in time", lost)
        return lost


async def read_journal(journal: Journal) -> Resume:
    """Ask the journal; of a disk that does not answer, nothing is taken up before the next start."""
    nothing: list[RawRecord] = []
    finished, unfinished, owed = await asyncio.gather(
        journal.ask(lambda each: raw.last_finished(each, _RECALLED), nothing),
        journal.ask(raw.unfinished, nothing),
        journal.ask(_owed, None),
    )
    if owed is None:
        logger.error("the journal's disk does not answer: what is owed is not taken up")
    return Resume(finished, unfinished, owed or ())


def _owed(connection: Connection) -> list[PendingReport] | None:
    return reports.owed(connection, Delivery.STDOUT | Delivery.MARK | Delivery.EVENT)


def _boot_and_ring(record: RawRecord) -> tuple[str, str]:
    boot, _, ring = record.ring.partition("/")
    return boot, ring

"""What the agent before this one left: records without a report, and reports that nobody was told."""

from __future__ import annotations

import asyncio
import logging
from itertools import groupby
from typing import TYPE_CHECKING

from oomtracer.journal import Delivery, reports
from oomtracer.journal import records as raw
from oomtracer.libbpf import RingRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    @property
    def untold(self) -> list[OomReport]:
        """Reports that standard output has not taken, by the journal's word."""
        return [each.report for each in self.owed if Delivery.STDOUT in each.pending]

    def waive(self, journal: Journal) -> None:
        """There is no cluster any more that marks and Events could go to."""
        ids = [each.report.id for each in self.owed]
        journal.submit(
            lambda each: reports.settle(each, ids, Delivery.MARK | Delivery.EVENT), kind="deliveries"
        )

    async def attribute(self, boot_id: str, pipeline: Pipeline, intake: Intake) -> None:
        """Make the reports of records that had none, and hand them on."""
        for each in self._finished:
            boot, _, ring = each.ring.partition("/")
            if boot == boot_id:
                pipeline.recall(ring, each.record)
        for (boot, ring), group in groupby(self._unfinished, key=_boot_and_ring):
            if boot == boot_id:
                await intake.take(ring, [RingRecord(each.position, each.record) for each in group])

    def drop_other_boots(self, boot_id: str, journal: Journal) -> int:
        """Records of another boot make no report: its symbols are gone. Returns how many there are, once."""
        others = [each for each in self._unfinished if _boot_and_ring(each)[0] != boot_id]
        if others:
            logger.error("%d kills before the last reboot were stored, and not told in time", len(others))
            done = [(each.ring, each.position) for each in others]
            journal.submit(lambda connection: raw.finish(connection, done), kind="records")
        return len(others)


async def read_journal(journal: Journal) -> Resume:
    """Ask the journal; of a disk that does not answer, nothing is taken up before the next start."""
    nothing: Sequence[RawRecord] = ()
    all_of_them = Delivery.STDOUT | Delivery.MARK | Delivery.EVENT
    finished, unfinished, owed = await asyncio.gather(
        journal.ask(lambda each: raw.last_finished(each, _RECALLED), nothing),
        journal.ask(raw.unfinished, nothing),
        journal.ask(lambda each: reports.owed(each, all_of_them), None),
    )
    if owed is None:
        logger.error("the journal's disk does not answer: what is owed is not taken up")
    return Resume(finished, unfinished, owed or ())


def _boot_and_ring(record: RawRecord) -> tuple[str, str]:
    boot, _, ring = record.ring.partition("/")
    return boot, ring

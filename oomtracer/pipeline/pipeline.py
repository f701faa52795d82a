"""Raw records in, reports out to every sink; what goes missing on the way is counted."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from oomtracer.codec import RecordError, decode
from oomtracer.events import Outcome
from oomtracer.pipeline.fan_out import hand_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oomtracer.events import OomReport
    from oomtracer.pipeline.attribute import Attributor
    from oomtracer.sinks import Sink

logger = logging.getLogger("oomtracer.pipeline")

# Enough for the largest group kill that comes twice, once for shared memory and once as a member.
_REMEMBERED_IDS = 512


class Pipeline:
    """Makes reports of records, in the order of the kernel, hands them out and keeps count.

    ``observed`` records decoded, ``reported`` those told, ``undecodable`` and ``unattributable`` ones dropped, ``missing`` by
    gaps in the sequence, ``untold`` reports that a sink failed to take, ``repeated`` kills of a process already told (one that shares the victim's memory
    and is a member of its group).
    """

    def __init__(self, attributor: Attributor, sinks: Sequence[Sink]) -> None:
        self.observed = 0
        self.reported = 0
        self.undecodable = 0
        self.unattributable = 0
        self.missing = 0
        self.untold = 0
        self.repeated = 0
        self._attributor = attributor
        self._sinks = sinks
        self._ring = ""
        self._last_seq: int | None = None
        self._told: OrderedDict[str, None] = OrderedDict()

    def recall(self, ring: str, record: bytes) -> None:
        """Learn from a record that was told before, by another process: nothing is counted, and nobody told."""
        try:
            kill = decode(record)
        except RecordError:
            self._attributor.forget_incidents()
            return
        if (ring, self._last_seq) != (self._ring, kill.seq - 1):
            self._attributor.forget_incidents()
        self._ring, self._last_seq = ring, kill.seq
        with suppress(Exception):  # told when it was new
            self._is_repeated(self._attributor.report(kill).id)

    def attribute(self, ring: str, record: bytes) -> OomReport | None:
        """The report of one record; None where there is none to be told. Never raises."""
        if ring != self._ring:
            # What another process has read of it is not missing; what found no room, the program counts.
            self._ring, self._last_seq = ring, None
        try:
            kill = decode(record)
        except RecordError as error:
            self.undecodable += 1
            if self._last_seq is not None:
                self._last_seq += 1  # it took a number, and is not missing besides
            self._attributor.forget_incidents()
            logger.error("dropped a record: %s", error)  # noqa: TRY400 - it is told whole
            return None
        self._follow(kill.seq)
        self.observed += 1
        try:
            report = self._attributor.report(kill)
        except Exception:  # a defect of ours may cost this report, not the ones behind it
            self.unattributable += 1
            logger.exception("could not make a report of the kill of process %d", kill.victim.pid)
            return None
        if self._is_repeated(report.id):
            # The kernel counts it too if it is a kill of its own, not the mark of a further thread.
            self.repeated += report.outcome is not Outcome.ALREADY_EXITING and not report.shared_memory
            return None
        return report

    def tell(self, report: OomReport) -> None:
        """Hand a report to every sink; never raises."""
        self.reported += 1
        self.untold += hand_out(report, self._sinks)

    def _follow(self, seq: int) -> None:
        gap = 0 if self._last_seq is None else seq - self._last_seq - 1
        self._last_seq = seq
        if gap > 0:
            self.missing += gap
            self._attributor.forget_incidents()
            logger.error("%d kills are missing before this one", gap)

    def _is_repeated(self, report_id: str) -> bool:
        if report_id in self._told:
            return True
        self._told[report_id] = None
        if len(self._told) > _REMEMBERED_IDS:
            self._told.popitem(last=False)
        return False

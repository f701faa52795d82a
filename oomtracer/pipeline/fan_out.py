"""One report to several sinks, of which none can cost the others theirs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from oomtracer.events import OomReport
from oomtracer.sinks import Sink

logger = logging.getLogger("oomtracer.pipeline")


def hand_out(report: OomReport, sinks: Sequence[Sink]) -> int:
    """Give a report to each sink; return how many failed to take it."""
    failed = 0
    for sink in sinks:
        try:
            sink.emit(report)
        except (
            Exception
        ):  # a defect of ours may cost this report, neither the other sinks nor the reports behind
            failed += 1
            logger.exception("a report of the kill of process %d was lost", report.victim.pid)
    return failed

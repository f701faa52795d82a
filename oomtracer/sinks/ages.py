"""How long ago a kill is, whichever boot it was in."""

from __future__ import annotations

from datetime import datetime

from oomtracer.events import OomReport
from oomtracer.kernel.moments import Moments


class Ages:
    """Seconds since a kill, never negative."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments

    def is_of_this_boot(self, report: OomReport) -> bool:
        """Whether the node was not restarted since."""
        return _boot_of(report) == self._moments.boot_id

    def __call__(self, report: OomReport) -> float:
        """Tell the age of a report's kill."""
        time_us = round(datetime.fromisoformat(report.time).timestamp() * 1e6)
        return self._moments.ago_s(_boot_of(report), report.boot_time_ns, time_us)


def _boot_of(report: OomReport) -> str:
    return report.id.partition(":")[0]

"""How long ago a kill is, whichever boot it was in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from oomtracer.events import OomReport


class Ages:
    """Seconds since a kill, never negative: of this boot by its clock, which nobody sets; of others by Unix time."""

    def __init__(
        self,
        boot_id: str,
        *,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self._boot_id = boot_id
        self._boot_clock = boot_clock
        self._unix_clock = unix_clock

    def is_of_this_boot(self, report: OomReport) -> bool:
        """Whether the node was not restarted since."""
        return report.id.partition(":")[0] == self._boot_id

    def __call__(self, report: OomReport) -> float:
        """Tell the age of a report's kill."""
        if self.is_of_this_boot(report):
            return max(self._boot_clock() - report.boot_time_ns / 1e9, 0.0)
        return max(self._unix_clock() - datetime.fromisoformat(report.time).timestamp(), 0.0)

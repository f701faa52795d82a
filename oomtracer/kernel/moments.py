"""Instants of this boot and of others: told so that they outlast a restart of the node, and how long ago they are."""

from __future__ import annotations

import time
from collections.abc import Callable

from oomtracer.kernel.clock import boot_clock


class Moments:
    """Ages by the boot clock, which nobody sets, where the instant is of this boot; by Unix time where it is not."""

    def __init__(
        self,
        boot_id: str,
        *,
        boot_clock: Callable[[], float] = boot_clock,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self.boot_id = boot_id
        self._boot_clock = boot_clock
        self._unix_clock = unix_clock

    def row(self, ago_s: float) -> tuple[str, int, int]:
        """Boot id, boot nanoseconds and Unix microseconds of what was so long ago."""
        return (
            self.boot_id,
            round((self._boot_clock() - ago_s) * 1e9),
            round((self._unix_clock() - ago_s) * 1e6),
        )

    def ago_s(self, boot_id: str, boot_time_ns: int, time_us: int) -> float:
        """Seconds since then; 0 where the clock says that it is still to come."""
        if boot_id == self.boot_id:
            return max(self._boot_clock() - boot_time_ns / 1e9, 0.0)
        return max(self._unix_clock() - time_us / 1e6, 0.0)

"""Where reports go. A sink knows reports only: neither the kernel nor the pipeline before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from oomtracer.kernel.clock import boot_clock_ns

if TYPE_CHECKING:
    from oomtracer.events import OomReport


class Sink(Protocol):
    """Takes reports one by one; never waits and never raises."""

    def emit(self, report: OomReport) -> None:
        """Take one report."""


def age_s(report: OomReport) -> float:
    """Seconds since the kill, on the boot clock: the time of day may jump, this does not."""
    return max(boot_clock_ns() - report.boot_time_ns, 0) / 1e9

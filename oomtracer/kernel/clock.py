"""Clocks of this boot: instants of the boot clock as time of day, and the time spent suspended."""

from __future__ import annotations

import time
from datetime import UTC, datetime

_MICROSECOND_NS = 1_000


def boot_clock() -> float:
    """Seconds of the clock that kills are told in: never set, and goes on during suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_clock_ns() -> int:
    """The same in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wall_clock(boot_time_ns: int) -> str:
    """RFC 3339 in UTC with microseconds, for an instant of the boot clock of this boot."""
    offset_ns = time.time_ns() - boot_clock_ns()
    microseconds = (boot_time_ns + offset_ns) // _MICROSECOND_NS
    instant = datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(
        microsecond=microseconds % 1_000_000
    )
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def suspended_ns() -> int:
    """How long this machine was suspended since it booted: what the boot clock counts and others do not.

    0 exactly where it never was; the two clocks are read one after the other.
    """
    before = boot_clock_ns()
    monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return max(before - monotonic, 0)

"""When a limiter of writes would let each pass if nothing took any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def ideal_schedule(asked_ns: Iterable[int], *, qps: float, burst: int) -> list[float]:
    """For each time at which one asks, in order: when it may go; so many per second, and so many at once."""
    interval_ns = 1e9 / qps
    passes: list[float] = []
    # A full bucket holds ``burst``: it is empty ``burst`` intervals before this.
    full_ns = -float("inf")
    for asked in asked_ns:
        at = max(asked, full_ns - (burst - 1) * interval_ns)
        full_ns = max(full_ns, at) + interval_ns
        passes.append(at)
    return passes

"""Which kills of the log are known already: a pure function.

The log's clock (the scheduler's, since boot) is near the boot clock, and three things keep them apart:

- Between a kill's record and its line in the log the task that makes the kill may wait for a CPU.
- The log's clock is not disciplined. NTP speeds the boot clock up or slows it down by up to 500 ppm.
- It stands still while the machine is suspended, and nobody tells whether that was before the kill or after.

So the tolerance grows with the kill's age on the log's clock. That is harmless: two kills are one only if the
process id and the command's name are the same too, and each known kill is found in the log at most once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from oomtracer.backfill.parse import LoggedKill

_LEAST_NS = 5_000_000_000
# MAXFREQ of the kernel's NTP code (include/linux/timex.h), as 1/2,000.
_DRIFT_DIVISOR = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKill:
    """A kill of this boot that was reported, from the journal or the ring."""

    id: str
    pid: int
    tid: int | None
    comm: str
    boot_time_ns: int

    @classmethod
    def of(cls, row: tuple[str, int, int | None, str, int]) -> Self:
        """As the journal has it: id, process id, thread id, command, nanoseconds of the boot clock."""
        report_id, pid, tid, comm, boot_time_ns = row
        return cls(id=report_id, pid=pid, tid=tid, comm=comm, boot_time_ns=boot_time_ns)


def boot_time_ns(time_us: int, suspended_ns: int) -> int:
    """An instant of the log's clock on the boot clock, as if all suspension was before it."""
    return time_us * 1_000 + suspended_ns


def tolerance_ns(time_us: int, suspended_ns: int) -> int:
    """By how much that can be wrong."""
    return _LEAST_NS + time_us * 1_000 // _DRIFT_DIVISOR + suspended_ns


def is_near(logged: KnownKill, instant_ns: int, suspended_ns: int) -> bool:
    """Whether a kill that was told from the log could be one at an instant of the boot clock."""
    tolerance = tolerance_ns((logged.boot_time_ns - suspended_ns) // 1_000, suspended_ns)
    return abs(logged.boot_time_ns - instant_ns) <= tolerance


def match(kills: Sequence[LoggedKill], known: Iterable[KnownKill], suspended_ns: int) -> dict[int, str]:
    """The ids of those that are known, by their place in ``kills``; the nearest in time are paired first."""
    by_task: defaultdict[tuple[int, str], list[KnownKill]] = defaultdict(list)
    for each in known:
        for number in {each.pid, each.tid} - {None}:
            by_task[number, each.comm].append(each)  # type: ignore[index]
    pairs = [
        (distance, i, candidate.id)
        for i, kill in enumerate(kills)
        for candidate in by_task.get((kill.killed.tid, kill.killed.comm), ())
        if (distance := _distance_ns(kill, candidate, suspended_ns)) is not None
    ]
    found: dict[int, str] = {}
    taken: set[str] = set()
    for _, i, known_id in sorted(pairs):
        if i not in found and known_id not in taken:
            found[i] = known_id
            taken.add(known_id)
    return found


def _distance_ns(kill: LoggedKill, known: KnownKill, suspended_ns: int) -> int | None:
    time_us = kill.killed.time_us
    distance = abs(boot_time_ns(time_us, suspended_ns) - known.boot_time_ns)
    return distance if distance <= tolerance_ns(time_us, suspended_ns) else None

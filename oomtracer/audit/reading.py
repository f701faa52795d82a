"""What the audit reads: the kernel's count and the program's, as close together as can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self


class Counters(NamedTuple):
    """``struct oom_counters`` (bpf/headers/oom_event.h), by the names of its members."""

    attempted: int = 0
    ring_full: int = 0
    second_kills: int = 0
    not_found: int = 0
    kills: int = 0
    marks: int = 0
    shared: int = 0
    over_share: int = 0
    unread: int = 0

    def plus(self, other: Counters) -> Counters:
        """Both together."""
        return Counters(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def seen_kills(self) -> int:
        """Of what the kernel counts: first and second kills."""
        return self.kills + self.second_kills


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The program's counts between two looks at ``oom_kill`` of ``/proc/vmstat``, which may not have that line."""

    at_s: float
    """Of a clock that never goes back."""
    vmstat_before: int | None
    counters: Counters
    vmstat_after: int | None

    @classmethod
    def take(
        cls, *, clock: Callable[[], float], vmstat: Callable[[], int | None], counters: Callable[[], Counters]
    ) -> Self:
        """Read everything now, in the order that matters."""
        before = vmstat()
        read = counters()
        return cls(vmstat_before=before, counters=read, vmstat_after=vmstat(), at_s=clock())

    @property
    def is_stable(self) -> bool:
        """Whether the kernel counted no kill while the program's counts were read: else they say nothing."""
        return self.vmstat_after is not None and self.vmstat_before == self.vmstat_after

    @property
    def program_kills(self) -> int:
        """What the program saw of what the kernel counts."""
        return self.counters.seen_kills

    @property
    def unexplained(self) -> int:
        """Kills of this boot that the program did not see, or not yet."""
        return (self.vmstat_after or 0) - self.program_kills


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The counts when tracing began: the kernel's since boot, and what of it the program saw."""

    kernel_kills: int
    program_kills: int = 0

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Self | None:
        """From some readings made just after attaching; None where not one of them is stable.

        A kill in progress is counted by the kernel and not yet by the program, for some microseconds. Of
        several readings the one with the least unexplained was made beside it.
        """
        stable = [reading for reading in readings if reading.is_stable]
        if not stable:
            return None
        least = min(stable, key=lambda reading: reading.unexplained)
        return cls(kernel_kills=least.vmstat_after or 0, program_kills=least.program_kills)

    @property
    def before_start(self) -> int:
        """Kills of this boot from before the program was there to see them: not lost."""
        return self.kernel_kills - self.program_kills

"""Which of the kernel's kills no program saw, and all other losses beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from oomtracer.audit.reading import Baseline, Reading
from oomtracer.audit.words import PROGRAM_STAGES, UNSEEN, loss_line

# A kill that the kernel has counted is marked within microseconds; one that is not by then was missed.
SETTLED_SECONDS: Final = 1.0

NO_SIGNALS: Final = "signal_generate is not attached, so that kills cannot be told from mere marks"
NO_KERNEL_COUNT: Final = "/proc/vmstat has no oom_kill (Linux 4.13 has)"
NOT_SETTLED: Final = "the kernel has been killing all the time since the start"
WENT_BACK: Final = (
    "the kernel's or the program's count went back (another boot, or another ring): the audit begins anew"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    """What this process did with the records: those told, and those ``lost`` by stage."""

    reported: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What can be said now. None is what cannot be told; ``reason`` says why, and is empty otherwise."""

    reason: str = ""
    before_start: int | None = None
    kernel_kills: int | None = None
    """Counted by the kernel since the start."""
    program_kills: int | None = None
    """Of these, seen by the program: first and second kills."""
    second_kills: int = 0
    reported: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    """By stage, every known stage, also with 0. ``unseen`` is missing where it cannot be told."""
    recheck: bool = False
    """Whether a loss can be decided by another reading, ``SETTLED_SECONDS`` from now."""
    log: tuple[str, ...] = ()
    """Errors to log: losses not told before."""


class Audit:
    """Follows one instance of the programs, from its baseline on; of an adopted one, that which was kept with it.

    ``told`` are the losses that a former process has told of the same instance: they are not told again.
    Without a baseline, the first stable reading is taken for one.
    """

    def __init__(
        self, baseline: Baseline | None, *, sees_signals: bool, told: Mapping[str, int] | None = None
    ) -> None:
        self._before_start = baseline.before_start if baseline else None
        self._sees_signals = sees_signals
        self._told = dict(told or {})
        self._unseen = self._told.get(UNSEEN, 0)
        self._last: Reading | None = None
        self._suspect: Reading | None = None

    def observe(self, reading: Reading, processed: Processed) -> Verdict:
        """Take one more reading. Losses never become fewer, but for a count that went back."""
        log = []
        if self._went_back(reading):
            self._begin_anew()
            log.append(WENT_BACK)
        if self._last is None or reading.vmstat_after is not None:
            self._last = reading
        if reading.is_stable:
            self._compare(reading)
        verdict = self._verdict(reading, processed)
        if line := loss_line(self._newly_lost(verdict.lost)):
            log.append(line)
        return replace(verdict, log=tuple(log))

    def _went_back(self, reading: Reading) -> bool:
        last, before = self._last, reading.vmstat_before
        # A count that cannot be read now (too many open files) has not gone back.
        return last is not None and (
            (before is not None and before < (last.vmstat_after or 0))
            or reading.counters.attempted < last.counters.attempted
            or reading.program_kills < last.program_kills
        )

    def _begin_anew(self) -> None:
        self._before_start = self._suspect = None
        self._unseen = 0
        self._told.clear()

    def _compare(self, reading: Reading) -> None:
        if self._before_start is None:
            self._before_start = reading.unexplained
        missing = reading.unexplained - self._before_start - self._unseen
        if missing < 0:
            # The baseline was taken in the middle of a kill that the program saw in the end.
            self._before_start += missing
        elif missing > 1:
            # The kernel kills one at a time: only one of them can be in progress.
            self._unseen += missing - 1
        self._settle(reading, may_be_in_progress=missing > 0)

    def _settle(self, reading: Reading, *, may_be_in_progress: bool) -> None:
        """A kill is missed for sure once nothing was counted for a second, by the kernel or by the program."""
        suspect = self._suspect
        if not may_be_in_progress:
            self._suspect = None
        elif suspect is None or suspect.vmstat_after != reading.vmstat_after:
            self._suspect = reading
        elif reading.at_s - suspect.at_s >= SETTLED_SECONDS:
            self._unseen += 1
            self._suspect = None

    def _verdict(self, reading: Reading, processed: Processed) -> Verdict:
        counters = reading.counters
        refused = {stage: int(getattr(counters, stage)) for stage in PROGRAM_STAGES}
        verdict = Verdict(
            reason=self._reason(reading),
            second_kills=counters.second_kills,
            reported=processed.reported,
            lost={**refused, **processed.lost},
            recheck=self._sees_signals and self._suspect is not None,
        )
        if reading.vmstat_after is None or self._before_start is None:
            return verdict
        verdict = replace(
            verdict,
            before_start=self._before_start,
            kernel_kills=reading.vmstat_after - self._before_start,
        )
        if not self._sees_signals:
            return verdict
        return replace(
            verdict, program_kills=reading.program_kills, lost={UNSEEN: self._unseen, **verdict.lost}
        )

    def _reason(self, reading: Reading) -> str:
        if reading.vmstat_after is None:
            return NO_KERNEL_COUNT
        if not self._sees_signals:
            return NO_SIGNALS
        return NOT_SETTLED if self._before_start is None else ""

    def _newly_lost(self, lost: Mapping[str, int]) -> dict[str, int]:
        new = {stage: count - self._told.get(stage, 0) for stage, count in lost.items()}
        self._told.update(lost)
        return {stage: count for stage, count in new.items() if count > 0}

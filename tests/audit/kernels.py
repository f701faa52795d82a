"""A kernel and its program as a model: kills that take a moment, some of which the program misses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oomtracer.audit import SETTLED_SECONDS, Baseline, Counters, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What the program does when a kill that it sees comes to its end, by the names of its counters.
SEEN = (
    ("kills",),
    ("kills", "ring_full"),
    ("kills", "over_share"),
    ("kills", "unread"),
    ("kills", "not_found"),
)
SECOND = ("second_kills",)


@dataclass
class Kernel:
    """``vmstat`` counts a kill when it begins; the program counts it when it ends, within less than a second."""

    now_s: float = 0.0
    vmstat: int = 0
    counters: Counters = field(default_factory=Counters)
    missed: int = 0
    """Kills that no program saw or will see."""
    _in_progress: tuple[str, ...] | None = None
    _began_s: float = 0.0

    def begin(self, seen: tuple[str, ...]) -> None:
        """Begin a kill; the one before it has ended then. An empty ``seen`` is one that the program misses."""
        self.end()
        self.vmstat += 1
        self.missed += not seen
        self._in_progress, self._began_s = seen, self.now_s

    def end(self) -> None:
        """End the kill in progress."""
        if self._in_progress:
            self._count(*self._in_progress)
        self._in_progress = None

    def mark(self, kind: str) -> None:
        """A record that is no kill: ``marks`` or ``shared``. It comes from the one who kills, after the kill."""
        self.end()
        self._count(kind)

    def _count(self, *names: str) -> None:
        if names != SECOND:
            names = (*names, "attempted")
        self.counters = self.counters._replace(**{name: getattr(self.counters, name) + 1 for name in names})

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        if self.now_s - self._began_s >= SETTLED_SECONDS:
            self.end()

    def read(self, *meanwhile: Callable[[], None]) -> Reading:
        """Read everything; what happens meanwhile does so before the program's counts are read, or after."""
        happening = iter(meanwhile)

        def counters() -> Counters:
            _next(happening)
            read = self.counters
            _next(happening)
            return read

        return Reading.take(clock=lambda: self.now_s, vmstat=lambda: self.vmstat, counters=counters)

    def baseline(self) -> Baseline | None:
        """As it is taken: some readings, over longer than a kill takes."""
        first = self.read()
        self.end()
        return Baseline.of([first, self.read()])


def _next(happening: Iterable[Callable[[], None]]) -> None:
    for action in happening:
        action()
        return

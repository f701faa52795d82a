"""The maps of one load of the object, whether this process made them or found them pinned."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from oomtracer.kernel import facts
from oomtracer.libbpf import RECORD_VERSION, BpfMap, extension_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from oomtracer.libbpf import BpfObject

MAPS = ("events", "counters", "meta")
"""Those that user space reads, in the order in which they are pinned: ``meta`` says that all is there."""
QUIET_AFTER_NS = 7 * 24 * 3600 * 10**9
"""Pinned programs make no more records once nobody has read for so long."""

_LOOKS = 3


class Counted(NamedTuple):
    """``struct oom_counters``, by the names of its members (bpf/headers/oom_event.h)."""

    attempted: int = 0
    ring_full: int = 0
    second_kills: int = 0
    not_found: int = 0
    kills: int = 0
    marks: int = 0
    shared: int = 0
    over_share: int = 0
    unread: int = 0

    def plus(self, other: Counted) -> Counted:
        """Both together."""
        return Counted(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Baseline(NamedTuple):
    """The kernel's count and the program's just after attaching."""

    kernel_kills: int
    """Since boot, as /proc/vmstat told it."""
    program_kills: int
    """Of these, seen by the programs; second kills too."""


class Instance:
    """Owns the descriptors of the maps it is given; a context manager."""

    def __init__(self, maps: Mapping[str, BpfMap]) -> None:
        self._maps = maps
        self._about = maps["meta"].read("oom_meta")

    @classmethod
    def of(cls, open_map: Callable[[str], BpfMap]) -> Self:
        """The one whose maps ``open_map`` gives by their names."""
        with ExitStack() as stack:
            instance = cls({name: stack.enter_context(open_map(name)) for name in MAPS})
            stack.pop_all()
        return instance

    @classmethod
    def made(cls, opened: BpfObject, *, build: bytes, ring_bytes: int, links: int, pinned: bool) -> Self:
        """That of an object just loaded and attached by ``links`` programs, with a name of its own."""
        instance = cls.of(opened.map)
        instance.describe(build=build, ring_bytes=ring_bytes, links=links, pinned=pinned)
        return instance

    def describe(self, *, build: bytes, ring_bytes: int, links: int, pinned: bool) -> None:
        """Write down what the next process must know of it."""
        about = self._about
        about.instance = int.from_bytes(os.urandom(8), "big")
        about.created_ns, about.read_ns = boot_clock_ns(), time.monotonic_ns()
        about.quiet_after_ns = QUIET_AFTER_NS if pinned else 0
        about.ring_bytes, about.links, about.build = ring_bytes, links, list(build)
        about.record_version, about.event_size = RECORD_VERSION, extension_size("oom_event")
        self._note_counts()
        self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for each in self._maps.values():
            each.__exit__(kind, error, tb)

    @property
    def name(self) -> str:
        """16 hexadecimal digits: of the ring, and of the directory of its pins."""
        return f"{self._about.instance:016x}"

    @property
    def created_ns(self) -> int:
        """When it was loaded."""
        return int(self._about.created_ns)

    @property
    def build(self) -> bytes:
        """What it was made of: see ``pins.build_of``."""
        return bytes(list(self._about.build))

    @property
    def links(self) -> int:
        """How many programs were attached."""
        return int(self._about.links)

    @property
    def is_replaced(self) -> bool:
        """Whether another one records in its place."""
        return bool(self._about.replaced_ns)

    @property
    def baseline(self) -> Baseline:
        """What was counted before it was complete."""
        about = self._about
        return Baseline(about.baseline_kernel_kills, about.baseline_program_kills)

    def map(self, name: str) -> BpfMap:
        """One of its maps; it belongs to the instance."""
        return self._maps[name]

    def count(self) -> Counted:
        """What the program knows of its losses."""
        counters = self._maps["counters"].read("oom_counters")
        return Counted(*(int(getattr(counters, name)) for name in Counted._fields))

    def _note_counts(self) -> None:
        # Between the two of a kill in progress the kernel has counted it, and the program has not: of several looks
        # the one with the smallest difference was made beside it.
        looks = [Baseline(*self._look()) for _ in range(_LOOKS)]
        least = min(looks, key=lambda each: each.kernel_kills - each.program_kills)
        self._about.baseline_kernel_kills, self._about.baseline_program_kills = least

    def _look(self) -> tuple[int, int]:
        while True:
            kills, counted = facts.oom_kills_since_boot(), self.count()
            if facts.oom_kills_since_boot() == kills:
                return kills or 0, counted.kills + counted.second_kills

    def note_adopted(self) -> None:
        """A reader is there again, with this build's idea of when to go quiet."""
        self._about.quiet_after_ns = QUIET_AFTER_NS
        self.note_read()

    def note_read(self) -> None:
        """A reader is there now."""
        self._about.read_ns = time.monotonic_ns()
        self._write()

    def note_replaced(self) -> None:
        """Another one records from now on: this one's ring and counters stand still."""
        self._about.replaced_ns = self._about.replaced_ns or boot_clock_ns()
        self._write()

    def _write(self) -> None:
        self._maps["meta"].write(self._about)


def boot_clock_ns() -> int:
    """Now, as the kernel's records tell it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

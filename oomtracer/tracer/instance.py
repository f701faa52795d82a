"""The maps of one load of the object, whether this process made them or found them pinned."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from oomtracer.audit import Baseline, Counters, Reading
from oomtracer.kernel import facts
from oomtracer.kernel.clock import boot_clock_ns
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
        return Baseline(kernel_kills=about.baseline_kernel_kills, program_kills=about.baseline_program_kills)

    def map(self, name: str) -> BpfMap:
        """One of its maps; it belongs to the instance."""
        return self._maps[name]

    def count(self) -> Counters:
        """What the program knows of its losses."""
        counters = self._maps["counters"].read("oom_counters")
        return Counters(*(int(getattr(counters, name)) for name in Counters._fields))

    def _note_counts(self) -> None:
        baseline = None
        while baseline is None:
            baseline = Baseline.of([self._read() for _ in range(_LOOKS)])
        self._note_baseline(baseline)

    def _note_baseline(self, baseline: Baseline) -> None:
        self._about.baseline_kernel_kills = baseline.kernel_kills
        self._about.baseline_program_kills = baseline.program_kills

    def _read(self) -> Reading:
        # Where the kernel has no count, there is nothing to be held against ours.
        return Reading.take(
            clock=time.monotonic, vmstat=lambda: facts.oom_kills_since_boot() or 0, counters=self.count
        )

    def carry_on(self, before_start: int) -> None:
        """It has taken over from others: so many kills of this boot were before the first of them, or seen by one.

        What both have seen is counted twice in that: the rest cannot be more than all.
        """
        kernel_kills = self.baseline.kernel_kills
        self._note_baseline(
            Baseline(kernel_kills=kernel_kills, program_kills=max(kernel_kills - before_start, 0))
        )
        self._write()

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

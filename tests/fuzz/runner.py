"""Runs a target's inputs in a row, and makes those that break a rule small."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import struct
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .target import Target
from .targets import TARGETS

TICK_S = 0.5
MEMORY_BYTES = 4 << 30
_AT = struct.Struct("<QQ")
_TRIES = 3000


class TooSlowError(BaseException):
    """One input took more than a tick of processor time; no ``except Exception`` of the product hides it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A broken rule: where, and by what."""

    kind: str
    """Exception and line: one of each kind is told."""
    index: int
    data: bytes
    text: str

    @property
    def is_quick(self) -> bool:
        """Whether it can be tried a thousand times, in the process that tells of it."""
        return self.kind.startswith(
            ("Assertion", "Type", "Value", "Key", "Index", "Attribute", "Unicode", "Overflow")
        )


@dataclass(slots=True)
class Shard:
    """What came of some inputs."""

    count: int
    seconds: float = 0.0
    slowest_s: float = 0.0
    slowest_index: int = 0
    input_bytes: int = 0
    rss_bytes: int = 0
    """The process's highest so far."""
    failures: dict[str, Failure] = field(default_factory=dict)


def run(name: str, seed: int, start: int, count: int, progress: Path | None = None) -> Shard:
    """Try inputs ``start`` to ``start + count``; with ``progress``, that file tells which one is being tried."""
    target, random, shard = TARGETS[name], Random(), Shard(count)
    began_s = time.perf_counter()
    with _watchdog() as watchdog, _position(progress, start) as position:
        for index in range(start, start + count):
            _AT.pack_into(position, 0, index, 1)
            data = target.input(seed, index, random)
            watchdog.index = index
            at_s = time.thread_time()
            failure = failure_of(target, data, index)
            took_s = time.thread_time() - at_s
            shard.input_bytes += len(data)
            if took_s > shard.slowest_s:
                shard.slowest_s, shard.slowest_index = took_s, index
            if failure and failure.kind not in shard.failures:
                shard.failures[failure.kind] = failure
    shard.seconds = time.perf_counter() - began_s
    shard.rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return shard


def failure_of(target: Target, data: bytes, index: int = 0) -> Failure | None:
    """The rule that this input breaks."""
    try:
        target.check(data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever comes is a finding
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        return Failure(kind, index, data, traceback.format_exc())
    return None


def smaller(target: Target, failure: Failure) -> bytes:
    """The shortest input that breaks the same rule at the same place, found by leaving pieces out."""
    data, tries = failure.data, _TRIES
    size = len(data) // 2
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            less = data[:at] + data[at + size :]
            tries -= 1
            found = failure_of(target, less)
            if found and found.kind == failure.kind:
                data = less
            else:
                at += size
        size //= 2
    return data


def limit_memory() -> None:
    """Make a process that wants too much get a MemoryError, which is a finding; the machine lives."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.RLIM_INFINITY))


def position_of(progress: Path) -> int:
    """Which input was being tried by a process that is gone."""
    return int(_AT.unpack(progress.read_bytes())[0])


class _Watchdog:
    """Sees at each tick whether still the same input is tried."""

    def __init__(self) -> None:
        self.index = -1
        self._seen = -1

    def tick(self, _signal: int, _frame: object) -> None:
        if self._seen == self.index:
            raise TooSlowError(f"more than {TICK_S} s of processor time")
        self._seen = self.index


@contextmanager
def _watchdog() -> Iterator[_Watchdog]:
    watchdog = _Watchdog()
    before = signal.signal(signal.SIGPROF, watchdog.tick)
    signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S)
    try:
        yield watchdog
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _position(progress: Path | None, start: int) -> Iterator[bytearray | mmap.mmap]:
    if progress is None:
        yield bytearray(_AT.size)
        return
    progress.write_bytes(_AT.pack(start, 1))
    descriptor = os.open(progress, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, _AT.size) as memory:
            yield memory
    finally:
        os.close(descriptor)
    progress.unlink()

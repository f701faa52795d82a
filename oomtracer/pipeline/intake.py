"""Moves records from the ring into the journal and to the pipeline.

Raw records are stored first, then their room is given back to the kernel, and only then is looked at what they say: a slow
lookup never holds the ring, and what dies in between is read or attributed again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import compress, repeat
from typing import NamedTuple, Protocol

from oomtracer.events import OomReport
from oomtracer.pipeline.pipeline import Pipeline


class Record(Protocol):
    """A record, and where it ends in its ring."""

    @property
    def position(self) -> int:
        """Only grows in one ring."""

    @property
    def data(self) -> bytes:
        """As the kernel wrote it."""


class Batch(Protocol):
    """Some records of one ring."""

    @property
    def ring(self) -> str:
        """The name of the ring."""

    @property
    def records(self) -> Sequence[Record]:
        """Oldest first; empty where there are none now."""


class Attributed(NamedTuple):
    """What became of a record: its report, None where there is none to be told."""

    position: int
    report: OomReport | None


class Source(Protocol):
    """Where records come from. Whoever reads twice without a release in between gets what follows."""

    def read(self) -> Batch:
        """Some records that were not read yet; never waits. Raises OomTracerError once it cannot be read."""

    def release(self) -> None:
        """Give up all that was read."""

    async def readable(self, woken: asyncio.Event) -> None:
        """Wait until there is more, or ``woken`` is set."""


class Book(Protocol):
    """Where what was read and what was told outlasts the process; each call returns once that is so."""

    async def store(self, batch: Batch) -> Sequence[bool]:
        """Keep raw records, and tell which were not there yet."""

    async def enter(self, ring: str, told: Sequence[Attributed]) -> Sequence[bool]:
        """Keep the reports of stored records, and tell which were not there yet."""


class Intake:
    """One direction, one batch after the other; the loop gets its turn in between."""

    def __init__(self, source: Source, pipeline: Pipeline, book: Book | None = None) -> None:
        self._source = source
        self._pipeline = pipeline
        self._book = book
        self._stopping = False
        self._woken = asyncio.Event()
        self.caught_up = asyncio.Event()
        """Set once there was nothing more to read."""

    async def run(self) -> None:
        """Take records until ``stop``. Raises the OomTracerError of a source that cannot be read any more."""
        while not self._stopping:
            if not await self._step() and not self._stopping:
                self._woken.clear()
                await self._source.readable(self._woken)

    def look(self) -> None:
        """Look for records now, not only when the kernel says that there are some."""
        self._woken.set()

    def stop(self) -> None:
        """End ``run`` after the batch that is under way."""
        self._stopping = True
        self._woken.set()

    async def finish(self, deadline_s: float | None = None) -> None:
        """Take what is still there; None: however long that takes."""
        loop = asyncio.get_running_loop()
        until_s = math.inf if deadline_s is None else loop.time() + deadline_s
        while await self._step() and loop.time() < until_s:
            pass

    async def _step(self) -> bool:
        batch = self._source.read()
        if not batch.records:
            self.caught_up.set()
        # One that was stored before was told before, or taken up at the start.
        is_new = await self._book.store(batch) if self._book and batch.records else repeat(True)
        self._source.release()
        await self.take(batch.ring, list(compress(batch.records, is_new)))
        return bool(batch.records)

    async def take(self, ring: str, records: Sequence[Record]) -> None:
        """Attribute and tell records that are stored already."""
        told = [
            Attributed(record.position, self._pipeline.attribute(ring, record.data)) for record in records
        ]
        is_new = await self._book.enter(ring, told) if self._book and told else [True] * len(told)
        for each, new in zip(told, is_new, strict=True):
            if each.report and new:
                self._pipeline.tell(each.report)
        await asyncio.sleep(0)  # a storm must not hold up /healthz

"""Moves records from the ring to the pipeline, and gives their room back to the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol


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


class Source(Protocol):
    """Where records come from. Whoever reads twice without a release in between gets what follows."""

    def read(self) -> Batch:
        """Some records that were not read yet; never waits. Raises OomTracerError once it cannot be read."""

    def release(self) -> None:
        """Give up all that was read."""

    async def readable(self, woken: asyncio.Event) -> None:
        """Wait until there is more, or ``woken`` is set."""


class Intake:
    """One direction, one batch after the other; the loop gets its turn in between."""

    def __init__(self, source: Source, take: Callable[[str, bytes], None]) -> None:
        self._source = source
        self._take = take
        self._stopping = False
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Take records until ``stop``. Raises the OomTracerError of a source that cannot be read any more."""
        while not self._stopping:
            if not await self._step() and not self._stopping:
                self._woken.clear()
                await self._source.readable(self._woken)

    def stop(self) -> None:
        """End ``run`` after the batch that is under way."""
        self._stopping = True
        self._woken.set()

    async def finish(self) -> None:
        """Take what is still there."""
        while await self._step():
            pass

    async def _step(self) -> bool:
        batch = self._source.read()
        self._source.release()
        for record in batch.records:
            self._take(batch.ring, record.data)
        await asyncio.sleep(0)  # a storm must not hold up /healthz
        return bool(batch.records)

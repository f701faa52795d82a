"""The programs alone: loaded and attached, with a ring that nobody reads until a test does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from oomtracer.codec import decode
from oomtracer.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oomtracer.events import OomKill

KIB = 1 << 10


class Ring:
    """What is in the ring, and what the program has counted."""

    def __init__(self, tracer: Tracer) -> None:
        self.counted = tracer.counted
        self._tracer = tracer

    def take(self) -> list[OomKill]:
        """Everything that is in the ring, which is empty then."""
        kills: list[OomKill] = []
        while records := self._tracer.read().records:
            kills += [decode(record.data) for record in records]
        self._tracer.release()
        return kills

    def detach(self) -> None:
        """Trace nothing any more; what was counted stays."""
        self._tracer.stop()


@contextmanager
def unread_ring(size_bytes: int, *disabled: str) -> Iterator[Ring]:
    """Programs with a ring of this size."""
    with Tracer(ring_size_bytes=size_bytes, disabled_hooks=frozenset(disabled)) as tracer:
        yield Ring(tracer)

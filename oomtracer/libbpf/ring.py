"""The ring buffer: records out of the kernel, as bytes, and their room back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError, errno_name

if TYPE_CHECKING:
    from types import TracebackType

    from oomtracer._native import CData


class RingRecord(NamedTuple):
    """One record. ``position`` is where it ends in the ring: it only grows, and names the record in its ring."""

    position: int
    data: bytes


class RingBuffer:
    """Reads one ``BPF_MAP_TYPE_RINGBUF`` map, whose descriptor is readable while records are not released.

    Reading and releasing are two steps: what was read and not released is read again by the next reader of the same ring.
    Raises OomTracerError where the ring cannot be mapped.
    """

    def __init__(self, map_fd: int) -> None:
        self._fd = map_fd
        self._ring: CData = ffi.new("struct oomtracer_ring *")
        error = lib.oomtracer_ring_open(self._ring, map_fd)
        if error:
            raise OomTracerError(f"cannot map the ring buffer: {errno_name(-error)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        lib.oomtracer_ring_close(self._ring)

    def fileno(self) -> int:
        """The descriptor of the map."""
        return self._fd

    def read(self, *, limit: int) -> list[RingRecord]:
        """Copy up to ``limit`` records that were not read yet, oldest first; never waits.

        Raises OomTracerError where the ring is not as the kernel leaves it.
        """
        return read_records(self._ring, limit=limit)

    def release(self) -> None:
        """Give the room of all that was read back to the kernel."""
        lib.oomtracer_ring_release(self._ring)


def read_records(ring: CData, *, limit: int) -> list[RingRecord]:
    """Read from a ``struct oomtracer_ring``, wherever its memory lies; for the rest see ``RingBuffer.read``."""
    data, size = ffi.new("void **"), ffi.new("uint32_t *")
    records: list[RingRecord] = []
    while len(records) < limit and (found := lib.oomtracer_ring_next(ring, data, size)):
        if found < 0:
            raise OomTracerError(
                "the ring buffer is damaged: its positions and lengths contradict each other",
                hint="start the agent again, after `oomtracer unpin` where a pin path is used",
            )
        records.append(RingRecord(ring.position, ffi.buffer(data[0], size[0])[:]))
    return records

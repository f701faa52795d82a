"""The ring buffer: records out of the kernel, as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError, errno_name

if TYPE_CHECKING:
    from types import TracebackType

    from oomtracer._native import CData

_STOP = -1  # any negative number ends ring_buffer__consume behind the record just given


class _Batch:
    """What the callback fills."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.limit = 0


class RingBuffer:
    """Reads one ``BPF_MAP_TYPE_RINGBUF`` map. ``fileno`` is readable while records wait.

    Raises OomTracerError where the ring cannot be mapped.
    """

    def __init__(self, map_fd: int) -> None:
        self._batch = _Batch()
        self._handle = ffi.new_handle(self._batch)
        self._ring = lib.oomtracer_ring_new(map_fd, self._handle)
        if self._ring == ffi.NULL:
            raise OomTracerError(f"cannot map the ring buffer: {errno_name(ffi.errno)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        lib.ring_buffer__free(self._ring)
        self._ring = ffi.NULL

    def fileno(self) -> int:
        """The epoll descriptor to wait on."""
        return lib.ring_buffer__epoll_fd(self._ring)

    def read(self, *, limit: int) -> list[bytes]:
        """Take up to ``limit`` records out of the ring, oldest first; never waits."""
        records: list[bytes] = []
        self._batch.records, self._batch.limit = records, limit
        error = lib.ring_buffer__consume(self._ring)
        if error < 0 and len(records) < limit:
            raise OomTracerError(f"reading the ring buffer failed: {errno_name(-error)}")
        return records


@ffi.def_extern(name="oomtracer_record", onerror=None)
def _record(handle: CData, data: CData, size: int) -> int:
    # An exception here would be printed and swallowed by cffi: copy, and nothing else.
    batch: _Batch = ffi.from_handle(handle)
    batch.records.append(ffi.buffer(data, size)[:])
    return _STOP if len(batch.records) >= batch.limit else 0

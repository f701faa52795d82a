"""A map of the kernel by its descriptor, wherever that came from: a loaded object, or a pin."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError, errno_name

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from oomtracer._native import CData

_ANY = 0  # BPF_ANY, include/uapi/linux/bpf.h


class BpfMap:
    """Owns the descriptor it is given. Raises OomTracerError where that is no map's."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd = fd
        self._value_bytes = lib.oomtracer_map_value_size(fd)
        if self._value_bytes < 0:
            os.close(fd)
            raise OomTracerError(f"{name} is no map: {errno_name(-self._value_bytes)}")

    @classmethod
    def pinned(cls, path: Path) -> Self:
        """The map that is pinned at a path."""
        return cls(path.name, open_pin(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._fd = -1

    def fileno(self) -> int:
        """The descriptor; it belongs to this object."""
        return self._fd

    def read(self, struct: str) -> CData:
        """Element 0 of an array map, as a ``struct`` of the extension.

        Another build's may be shorter or longer: what it has not is 0, and what only it has is left out.
        """
        key, raw = ffi.new("uint32_t *", 0), ffi.new("uint8_t[]", max(self._value_bytes, 1))
        self._check(lib.bpf_map_lookup_elem(self._fd, key, raw), "read")
        value = ffi.new(f"struct {struct} *")
        size = min(self._value_bytes, ffi.sizeof(f"struct {struct}"))
        ffi.buffer(value)[:size] = ffi.buffer(raw)[:size]
        return value

    def write(self, value: CData) -> None:
        """Change element 0; what another build's has beyond the end of ``value`` stays as it is."""
        key, raw = ffi.new("uint32_t *", 0), ffi.new("uint8_t[]", max(self._value_bytes, 1))
        self._check(lib.bpf_map_lookup_elem(self._fd, key, raw), "read")
        size = min(self._value_bytes, len(ffi.buffer(value)))
        ffi.buffer(raw)[:size] = ffi.buffer(value)[:size]
        self._check(lib.bpf_map_update_elem(self._fd, key, raw, _ANY), "change")

    def _check(self, result: int, action: str) -> None:
        if result < 0:
            raise OomTracerError(f"cannot {action} map {self.name}: {errno_name(-result)}")


def open_pin(path: Path) -> int:
    """A descriptor of what is pinned at a path: a map, a program or a link. Raises OomTracerError."""
    fd = lib.bpf_obj_get(os.fsencode(path))
    if fd < 0:
        raise OomTracerError(f"cannot open the pin {path}: {errno_name(-fd)}")
    return fd

"""A compiled BPF object: choose its programs, load it, attach them, look into its maps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError, UnsupportedError, errno_name
from oomtracer.libbpf.btf import Btf
from oomtracer.libbpf.log import captured_log, refused_program, telling_line

if TYPE_CHECKING:
    from types import TracebackType

    from oomtracer._native import CData


class LoadError(UnsupportedError):
    """The kernel refused the object, or one ``program`` of it.

    ``number`` is the errno, ``log`` libbpf's whole log.
    """

    def __init__(self, message: str, *, number: int, log: str, program: str | None = None) -> None:
        super().__init__(message)
        self.number = number
        self.log = log
        self.program = program


class BpfObject:
    """One object file, opened. Leaving the context detaches and unloads everything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._links: dict[str, CData] = {}
        with captured_log() as log:
            self._object = lib.bpf_object__open_file(os.fsencode(path), ffi.NULL)
        if self._object == ffi.NULL:
            raise self._failure("open", ffi.errno, "".join(log))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.detach()
        lib.bpf_object__close(self._object)
        self._object = ffi.NULL

    @property
    def btf(self) -> Btf:
        """The object's own type information; valid as long as the object."""
        return Btf(lib.bpf_object__btf(self._object), owned=False)

    def enable(self, program: str) -> None:
        """Load this program, which is declared off (``SEC("?...")``), with the object."""
        _check(lib.bpf_program__set_autoload(self._program(program), True), f"enable program {program}")

    def set_flag(self, variable: str, *, value: bool) -> None:
        """Set a ``const volatile bool`` of the program; only before the load."""
        _check(lib.oomtracer_set_flag(self._object, variable.encode(), value), f"set variable {variable}")

    def set_ring_size(self, name: str, size_bytes: int) -> None:
        """Size of a ring buffer map: a power of two and whole pages; only before the load."""
        _check(lib.bpf_map__set_max_entries(self._map(name), size_bytes), f"size map {name}")

    def load(self) -> None:
        """Create the maps and load the enabled programs. Raises LoadError with the telling line."""
        with captured_log() as log:
            result = lib.bpf_object__load(self._object)
        if result < 0:
            raise self._failure("load", -result, "".join(log), refused_program("".join(log)))

    def attach(self, program: str) -> None:
        """Attach a loaded program to the hook its section names. Raises LoadError."""
        with captured_log() as log:
            link = lib.bpf_program__attach(self._program(program))
        if link == ffi.NULL:
            raise self._failure(f"attach {program} of", ffi.errno, "".join(log), program)
        self._links[program] = link

    def detach(self) -> None:
        """Detach whatever is attached; the maps stay readable."""
        while self._links:
            lib.bpf_link__destroy(self._links.popitem()[1])

    def map_fd(self, name: str) -> int:
        """The descriptor of a map; it belongs to the object."""
        return lib.bpf_map__fd(self._map(name))

    def lookup(self, name: str, struct: str) -> CData:
        """Element 0 of an array map, as a ``struct`` of the extension."""
        key, value = ffi.new("uint32_t *", 0), ffi.new(f"struct {struct} *")
        size = ffi.sizeof(f"struct {struct}")
        _check(lib.bpf_map__lookup_elem(self._map(name), key, 4, value, size, 0), f"read map {name}")
        return value

    def _program(self, name: str) -> CData:
        program = lib.bpf_object__find_program_by_name(self._object, name.encode())
        if program == ffi.NULL:
            raise OomTracerError(f"{self.path.name} has no program {name}")
        return program

    def _map(self, name: str) -> CData:
        found = lib.bpf_object__find_map_by_name(self._object, name.encode())
        if found == ffi.NULL:
            raise OomTracerError(f"{self.path.name} has no map {name}")
        return found

    def _failure(self, action: str, number: int, log: str, program: str | None = None) -> LoadError:
        telling = telling_line(log)
        reason = f": {telling}" if telling else ""
        message = f"cannot {action} {self.path.name}: {errno_name(number)}{reason}"
        return LoadError(message, number=number, log=log, program=program)


def _check(result: int, action: str) -> None:
    if result < 0:
        raise OomTracerError(f"cannot {action}: {errno_name(-result)}")

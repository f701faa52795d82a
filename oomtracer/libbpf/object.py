"""A compiled BPF object: choose its programs, load it, attach them, look into its maps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError, UnsupportedError, errno_name
from oomtracer.libbpf.btf import Btf
from oomtracer.libbpf.log import captured_log, refused_program, telling_line
from oomtracer.libbpf.map import BpfMap

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
    """One object file, opened. Leaving the context detaches and unloads what was not left attached."""

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

    def link_fd(self, program: str) -> int:
        """The descriptor by which a program is attached; it belongs to the object."""
        return lib.bpf_link__fd(self._links[program])

    def can_pin(self, program: str) -> bool:
        """Whether an attached program can stay so without this process: only by a link of the kernel's."""
        return lib.oomtracer_is_link(self.link_fd(program))

    def leave_attached(self, program: str) -> None:
        """Leave a program whose link is pinned to its pin: it is no more detached with the others."""
        fd, link = self.link_fd(program), self._links.pop(program)
        # libbpf would switch off the perf event below the link when that is destroyed. The descriptor of such
        # an event stays open until the process ends: only libbpf knows it.
        lib.bpf_link__disconnect(link)
        lib.bpf_link__destroy(link)
        os.close(fd)

    def detach(self) -> None:
        """Detach whatever is attached and was not left so; the maps stay readable."""
        while self._links:
            lib.bpf_link__destroy(self._links.popitem()[1])

    def map(self, name: str) -> BpfMap:
        """A map of a loaded object; it outlives the object."""
        return BpfMap(name, os.dup(lib.bpf_map__fd(self._map(name))))

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

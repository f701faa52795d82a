"""What is pinned: finding it again, telling whether it is of the same build, adding to it, removing it.

One directory for each instance, named by it, with ``map_<name>`` and ``link_<program>`` inside. ``map_meta`` is
the last that is pinned, so that what has none is the work of a process that was killed over it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer.errors import OomTracerError, errno_name
from oomtracer.libbpf import BpfMap, RingBuffer, open_pin, pin
from oomtracer.tracer.hooks import HOOKS, TRUTH
from oomtracer.tracer.instance import MAPS, Instance
from oomtracer.tracer.pin_directory import PinFaultError, instance_directories

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from oomtracer.libbpf import BpfObject

_COUNTED_AT_ONCE = 64


def build_of(path: Path, *, ring_size_bytes: int, disabled_hooks: frozenset[str]) -> bytes:
    """What makes two instances the same: the object (its record's version is in it), and how it is loaded."""
    import hashlib  # noqa: PLC0415 - some 0.6 MiB that an agent without pins need not have

    settings = "\0".join([str(ring_size_bytes), *sorted(disabled_hooks)])
    return hashlib.sha256(path.read_bytes() + settings.encode()).digest()


@dataclass(frozen=True, slots=True)
class Pins:
    """What is pinned of one instance. ``created_ns`` is None where the pins are not complete."""

    directory: Path
    programs: frozenset[str]
    """Whose links are pinned."""
    created_ns: int | None = None
    build: bytes = b""
    is_whole: bool = False
    """Whether it records by itself: each program that was attached is pinned, and nobody has taken over."""
    fault: str = ""
    """Why its maps cannot be opened."""

    @property
    def sees_signals(self) -> bool:
        """Whether it told kills from mere marks."""
        return any(hook.group == TRUTH and hook.program in self.programs for hook in HOOKS)

    @property
    def name(self) -> str:
        """Of the instance, and of its ring."""
        return self.directory.name

    def open(self) -> Instance:
        """Its maps. Raises OomTracerError."""
        return Instance.of(lambda name: BpfMap.pinned(self.directory / f"map_{name}"))

    def hold_links(self, stack: ExitStack) -> None:
        """Keep the programs attached until ``stack`` ends, whoever removes the pins. Raises OomTracerError."""
        for program in sorted(self.programs):
            stack.callback(os.close, open_pin(self.directory / f"link_{program}"))

    def unread_kills(self) -> int:
        """How many records wait in its ring; nobody else may be reading it. Raises OomTracerError."""
        path = self.directory / "map_events"
        if not path.exists():
            return 0
        with BpfMap.pinned(path) as events, RingBuffer(events.fileno()) as ring:
            count = 0
            while records := ring.read(limit=_COUNTED_AT_ONCE):
                count += len(records)
            return count


def find(path: Path) -> list[Pins]:
    """All instances that are pinned, oldest first; those that are not complete last."""
    found = [_look(directory) for directory in instance_directories(path)]
    return sorted(found, key=lambda each: (each.created_ns is None, each.created_ns or 0))


def _look(directory: Path) -> Pins:
    programs = frozenset(each.name.removeprefix("link_") for each in directory.glob("link_*"))
    pins = Pins(directory, programs)
    if not (directory / "map_meta").exists():
        return pins
    try:
        with pins.open() as instance:
            return Pins(
                directory,
                programs,
                instance.created_ns,
                instance.build,
                is_whole=instance.links == len(programs) and not instance.is_replaced,
            )
    except OomTracerError as error:
        return Pins(directory, programs, fault=error.message)


def pin_instance(path: Path, instance: Instance, opened: BpfObject, programs: Collection[str]) -> None:
    """Pin the maps, and the links of ``programs``. Raises PinFaultError, and leaves nothing then."""
    directory = path / instance.name
    try:
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise PinFaultError(f"cannot pin in {path}: {errno_name(error.errno or 0)}", hint=_HINT) from error
    with ExitStack() as stack:
        stack.callback(_remove_if_possible, directory)
        try:
            for name in MAPS[:-1]:
                pin(instance.map(name).fileno(), directory / f"map_{name}")
            for program in programs:
                pin(opened.link_fd(program), directory / f"link_{program}")
            pin(instance.map(MAPS[-1]).fileno(), directory / f"map_{MAPS[-1]}")
        except OomTracerError as error:
            raise PinFaultError(error.message, hint=_HINT) from error
        stack.pop_all()
    for program in programs:
        opened.leave_attached(program)


_HINT = "pinning needs CAP_BPF and a bpffs that may be written"


def remove_links(directory: Path) -> int:
    """Let the programs go; their maps stay. Returns how many pins went."""
    return _unlink(directory.glob("link_*"))


def remove(directory: Path) -> int:
    """Remove all pins of an instance, programs first. Returns how many went. Raises OomTracerError."""
    try:
        # map_meta before the others, as it was pinned after them: without it the rest is known not to be complete.
        count = remove_links(directory) + _unlink([directory / "map_meta"]) + _unlink(directory.glob("map_*"))
        directory.rmdir()
    except OSError as error:
        raise OomTracerError(
            f"cannot remove the pins in {directory}: {errno_name(error.errno or 0)}"
        ) from error
    return count


def _remove_if_possible(directory: Path) -> None:
    with suppress(OomTracerError):  # the next start finds that it is not complete
        remove(directory)


def _unlink(pins: Iterable[Path]) -> int:
    count = 0
    for each in sorted(pins):
        with suppress(FileNotFoundError):
            each.unlink()
            count += 1
    return count

"""What ``check`` tells of pins: whether they can be, what they hold, and what is pinned now. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer.check.rows import Row, Status
from oomtracer.errors import OomTracerError, errno_name
from oomtracer.kernel.directory_lock import holder
from oomtracer.tracer import QUIET_AFTER_DAYS
from oomtracer.tracer.pin_directory import fault_of, instance_directories
from oomtracer.tracer.pins import Pins, find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oomtracer.tracer import Hook


@dataclass(frozen=True, slots=True)
class PinnedRow:
    """An instance that is pinned. ``unread_kills`` is None while an agent reads them, and where they cannot be read."""

    instance: str
    same_build: bool
    complete: bool
    unread_kills: int | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class PinState:
    """What is pinned in a directory; ``fault`` says why nothing can be, or why that cannot be seen."""

    path: Path
    fault: OomTracerError | None = None
    held_by: int | None = None
    """The process of the agent that has it."""
    pinned: tuple[PinnedRow, ...] = ()


def pin_state(path: Path, build: bytes) -> PinState:
    """Look at a directory; ``build`` is that of an agent with the same flags."""
    fault: OomTracerError | None = fault_of(path)
    try:
        if fault or not path.is_dir() or not instance_directories(path):
            return PinState(path, fault)
        held_by = holder(path)
        rows = [_pinned(pins, build, is_read=held_by is not None) for pins in find(path)]
        return PinState(path, None, held_by, tuple(rows))
    except OomTracerError as error:
        return PinState(path, error)
    except OSError as error:
        return PinState(path, OomTracerError(f"cannot look into {path}: {errno_name(error.errno or 0)}"))


def _pinned(pins: Pins, build: bytes, *, is_read: bool) -> PinnedRow:
    if pins.fault:
        return PinnedRow(pins.name, same_build=False, complete=False, unread_kills=None, fault=pins.fault)
    unread = None if is_read else pins.unread_kills()
    return PinnedRow(pins.name, pins.build == build, pins.is_whole, unread)


def rows(state: PinState | None, unpinned: tuple[Hook, ...] | None, *, kills: int) -> Iterator[Row]:
    """Tell it.

    ``unpinned`` are the hooks in use whose links this kernel cannot pin, None where none could be tried;
    ``kills`` is what the ring holds.
    """
    if state is None:
        yield Row("pins", Status.OK, "off: kills are told only while `run` is there (--pin-path)")
        return
    yield _directory(state)
    if unpinned is not None:
        yield _links(unpinned)
    held = f"it holds {kills} kills with nobody reading; after {QUIET_AFTER_DAYS} days without a reader no more are recorded"
    yield Row("pins: ring", Status.OK, held)
    if not state.fault:
        yield from _pinned_rows(state)


def _directory(state: PinState) -> Row:
    if state.fault:
        return Row("pins: bpffs", Status.REDUCED, state.fault.message, state.fault.hint)
    there = "" if state.path.exists() else f"; `run` makes {state.path}"
    return Row("pins: bpffs", Status.OK, f"{state.path} can be used{there}")


def _links(unpinned: tuple[Hook, ...]) -> Row:
    if not unpinned:
        return Row("pins: links", Status.OK, "all hooks in use can be pinned")
    names = ", ".join([hook.name for hook in unpinned])
    hint = "kills are recorded only while `run` is there: Linux 5.15 or later can pin these"
    return Row("pins: links", Status.REDUCED, f"cannot be pinned by this kernel: {names}", hint)


def _pinned_rows(state: PinState) -> Iterator[Row]:
    if not state.pinned:
        yield Row("pins: now", Status.OK, "nothing is pinned")
    for each in state.pinned:
        if each.fault:
            hint = "run as root or with CAP_BPF; if that is of no help, `oomtracer unpin`"
            yield Row("pins: now", Status.REDUCED, f"{each.instance}: {each.fault}", hint)
            continue
        yield Row("pins: now", Status.OK, f"{each.instance}: {_build(each)}; {_readers(each, state.held_by)}")


def _build(row: PinnedRow) -> str:
    if not row.complete:
        return "not complete or replaced, to be removed by the next `run`"
    return (
        "this build" if row.same_build else "another build or other flags, to be replaced by the next `run`"
    )


def _readers(row: PinnedRow, held_by: int | None) -> str:
    return (
        f"read by process {held_by}" if held_by is not None else f"{row.unread_kills} kills wait to be read"
    )

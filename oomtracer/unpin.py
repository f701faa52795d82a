"""``oomtracer unpin``: takes everything out of the kernel that an agent has left there for the next one."""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from oomtracer.errors import OomTracerError, errno_name
from oomtracer.kernel.directory_lock import DirectoryLock
from oomtracer.libbpf import is_bpffs
from oomtracer.tracer.pin_directory import require_no_others
from oomtracer.tracer.pins import Pins, find, remove


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpinResult:
    """What went. ``unread_kills`` is None where not all rings could be read."""

    pin_path: str
    instances: tuple[str, ...] = ()
    pins: int = 0
    unread_kills: int | None = 0
    directory_removed: bool = False


def unpin(path: Path) -> UnpinResult:
    """Remove every instance and the directory.

    Raises OomTracerError: an agent has it, something else is in it, or it cannot be removed. Nothing is removed
    in the first two cases.
    """
    try:
        if not path.is_dir():
            return UnpinResult(pin_path=str(path))
        if not is_bpffs(path):
            raise OomTracerError(
                f"{path} is on no bpffs: nothing can be pinned there", hint="give the --pin-path of `run`"
            )
        with DirectoryLock(path):
            require_no_others(path)
            return _remove(path, find(path))
    except OSError as error:
        raise OomTracerError(f"cannot unpin {path}: {errno_name(error.errno or 0)}") from error


def _remove(path: Path, found: list[Pins]) -> UnpinResult:
    unread = [_unread(pins) for pins in found]
    count = sum([remove(pins.directory) for pins in found])
    removed = False
    with suppress(FileNotFoundError):
        try:
            path.rmdir()
            removed = True
        except OSError as error:
            if error.errno != errno.EBUSY:  # mounted into a container: its host's to remove
                raise
    return UnpinResult(
        pin_path=str(path),
        instances=tuple([pins.name for pins in found]),
        pins=count,
        unread_kills=None if None in unread else sum([kills or 0 for kills in unread]),
        directory_removed=removed,
    )


def _unread(pins: Pins) -> int | None:
    try:
        return pins.unread_kills()
    except OomTracerError:
        return None


def as_json(result: UnpinResult) -> str:
    """One JSON object, one line."""
    return json.dumps(asdict(result)) + "\n"


def as_text(result: UnpinResult) -> str:
    """One line."""
    if not result.instances and not result.directory_removed:
        return f"nothing is pinned in {result.pin_path}\n"
    kills = "an unknown number of" if result.unread_kills is None else result.unread_kills
    left = "" if result.directory_removed else "; the directory is mounted, and stays"
    return f"{result.pin_path}: {result.pins} pins removed, {kills} kills in them had not been read{left}\n"

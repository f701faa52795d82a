"""The directory of our own on a bpffs: whether it can be used, and making it so."""

from __future__ import annotations

import os
import re
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from oomtracer.errors import OomTracerError, errno_name
from oomtracer.kernel.directory_lock import DirectoryHeldError, DirectoryLock
from oomtracer.kernel.namespaces import is_on_host
from oomtracer.kernel.privileges import Capability, effective_capabilities
from oomtracer.libbpf import is_bpffs, mount_bpffs

if TYPE_CHECKING:
    from types import TracebackType

BPFFS = Path("/sys/fs/bpf")
"""Where a bpffs is mounted on every host that has one."""

_INSTANCE = re.compile(r"[0-9a-f]{16}")
_PIN = re.compile(r"(map|link)_\w+")


class PinFaultError(OomTracerError):
    """Nothing can be pinned there."""


class PinDirectory:
    """Ours alone inside its context.

    Entering makes the directory where it is missing. Raises PinFaultError, and DirectoryHeldError where another
    agent has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            _require_bpffs(self.path)
            _make(self.path)
            lock = _lock(self.path, stack)
            _require_own(self.path, lock.fd)
            require_no_others(self.path)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.close()


def fault_of(path: Path) -> PinFaultError | None:
    """Why nothing could be pinned there, without changing anything; None where it would work."""
    try:
        if may_mount(path) and not is_bpffs(BPFFS):
            return None
        _require_bpffs(path)
        if path.exists():
            _require_owner(path, path.lstat())
            require_no_others(path)
        elif not os.access(path.parent, os.W_OK):
            return _fault(path, f"{path.parent} may not be written")
    except PinFaultError as error:
        return error
    except OSError as error:
        return _fault(path, errno_name(error.errno or 0))
    return None


def instance_directories(path: Path) -> list[Path]:
    """The directories of instances, complete or not."""
    return [each for each in sorted(path.iterdir()) if _INSTANCE.fullmatch(each.name) and each.is_dir()]


def require_no_others(path: Path) -> None:
    """Raise PinFaultError where something is there that no oomtracer makes."""
    ours = instance_directories(path)
    inside = [pin for each in ours for pin in each.iterdir()]
    others = [each for each in path.iterdir() if each not in ours]
    others += [pin for pin in inside if not _PIN.fullmatch(pin.name) or pin.is_dir()]
    if others:
        names = ", ".join(str(each.relative_to(path)) for each in others)
        raise PinFaultError(
            f"{path} has in it what oomtracer did not make: {names}",
            hint="give --pin-path a directory of its own, such as /sys/fs/bpf/oomtracer",
        )


def may_mount(path: Path) -> bool:
    """Whether a bpffs that is missing below ``path`` is ours to mount: on a host, as its administrator."""
    return (
        path.is_relative_to(BPFFS)
        and BPFFS.is_dir()
        and is_on_host()
        and Capability.SYS_ADMIN in effective_capabilities()
    )


def _require_bpffs(path: Path) -> None:
    try:
        _look_for_bpffs(path)
    except OSError as error:  # such as a bpffs of which only root may see the inside
        raise _fault(path, f"it cannot be looked at: {errno_name(error.errno or 0)}") from error


def _look_for_bpffs(path: Path) -> None:
    if path.is_symlink():
        raise _fault(path, "it is a symbolic link", hint="give the directory itself")
    there = path if path.exists() else path.parent
    if not there.is_dir():
        raise _fault(path, f"{there} is no directory", hint=_MOUNT)
    try:
        if is_bpffs(there):
            return
        if may_mount(path):
            mount_bpffs(BPFFS)
            return
    except OomTracerError as error:
        raise _fault(path, error.message, hint=_MOUNT) from error
    raise _fault(path, f"{there} is on no bpffs", hint=_MOUNT)


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _fault(path, f"it cannot be made: {errno_name(error.errno or 0)}") from error


def _lock(path: Path, stack: ExitStack) -> DirectoryLock:
    try:
        return stack.enter_context(DirectoryLock(path))
    except DirectoryHeldError:
        raise
    except OomTracerError as error:
        raise _fault(path, error.message) from error


def _require_own(path: Path, fd: int) -> None:
    found = os.fstat(fd)
    _require_owner(path, found)
    if stat.S_IMODE(found.st_mode) & 0o077:  # such as one that a container runtime has made to be mounted
        try:
            os.fchmod(fd, 0o700)
        except OSError as error:
            raise _fault(path, f"its mode cannot be changed: {errno_name(error.errno or 0)}") from error


def _require_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _fault(path, f"it belongs to user {found.st_uid}", hint="remove it, or give another directory")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _fault(
            path, f"others may write into it (mode {stat.S_IMODE(found.st_mode):o})", hint=f"chmod 700 {path}"
        )


_MOUNT = (
    "mount a bpffs: mount -t bpf bpf /sys/fs/bpf; in a container, mount the host's directory that is on one"
)


def _fault(
    path: Path, reason: str, *, hint: str = "give a directory on a bpffs that this user may change"
) -> PinFaultError:
    return PinFaultError(f"cannot pin in {path}: {reason}", hint=hint)

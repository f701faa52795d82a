"""The state directory: ours alone, and of one agent at a time."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from oomtracer.errors import OomTracerError
from oomtracer.kernel.directory_lock import DirectoryHeldError, DirectoryLock


class StateDirectoryError(OomTracerError):
    """The directory cannot be right, now or later: the agent does not start with it."""


class StateDirectory:
    """Made where it is missing, checked and locked by ``hold``, until ``release``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: DirectoryLock | None = None

    def hold(self) -> None:
        """Make sure that it is there, ours and locked; a second call keeps the lock.

        Raises StateDirectoryError, DirectoryHeldError, and OSError where a disk or a permission is the trouble.
        """
        self._make()
        self._check()
        if self._lock is None or not self._is_locked_one():
            self._take()

    def release(self) -> None:
        """Let another agent have it."""
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None

    def sync(self) -> None:
        """Make the names of new files, and its own, last. Raises OSError."""
        _sync(self.path)
        with suppress(PermissionError):  # to read its parent, which is not ours
            _sync(self.path.parent)

    def _make(self) -> None:
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _no_parent(self.path) from error

    def _check(self) -> None:
        if fault := _fault(self.path, self.path.stat()):
            raise fault

    def _is_locked_one(self) -> bool:
        # Somebody may have removed the directory, or mounted something over it.
        return self._lock is not None and os.path.samestat(os.fstat(self._lock.fd), self.path.stat())

    def _take(self) -> None:
        self.release()
        lock = DirectoryLock(self.path)
        try:
            lock.__enter__()
        except DirectoryHeldError:
            raise
        except OomTracerError as error:
            raise OSError(str(error)) from error
        self._lock = lock


def fault_of(path: Path) -> StateDirectoryError | None:
    """Why an agent of this user would not start with a directory; None where it would. Changes nothing.

    Raises OSError where that cannot be seen.
    """
    try:
        return _fault(path, path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None if path.parent.is_dir() else _no_parent(path)


def _no_parent(path: Path) -> StateDirectoryError:
    return StateDirectoryError(
        f"--state-dir: {path.parent} is not a directory",
        hint=f"make it, or give another directory; {path.name} itself is made where it is missing",
    )


def _fault(path: Path, found: os.stat_result) -> StateDirectoryError | None:
    if not stat.S_ISDIR(found.st_mode):
        return StateDirectoryError(
            f"--state-dir: {path} is not a directory", hint="give a directory of its own"
        )
    if found.st_uid != os.geteuid():
        return StateDirectoryError(
            f"--state-dir: {path} belongs to user {found.st_uid}, not to user {os.geteuid()}",
            hint="give a directory of its own, or chown it",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return StateDirectoryError(f"--state-dir: others may write to {path}", hint=f"run chmod 0700 {path}")
    return None


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

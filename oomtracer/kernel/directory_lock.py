"""A directory of which one process at a time is the owner, and who that is."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from oomtracer.errors import OomTracerError, errno_name
from oomtracer.kernel.facts import PROC

if TYPE_CHECKING:
    from types import TracebackType


class DirectoryHeldError(OomTracerError):
    """Another process holds the directory: ``pid`` as it is seen from here, None where it cannot be seen."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "a process that cannot be seen from here"
        super().__init__(
            f"{path} is in use by {who}",
            hint="stop that oomtracer first, or give each one a directory of its own",
        )
        self.pid = pid


class DirectoryLock:
    """Held inside its context, and at the latest until the process ends, however it ends.

    The lock is on the directory itself (flock(2)): nothing is written, and nothing is left behind.
    Entering raises DirectoryHeldError, or OomTracerError where the directory cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        """Of the directory, while it is held."""

    def __enter__(self) -> Self:
        while True:
            self.fd = _open(self.path)
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _holder(self.fd)
                self._close()
                raise DirectoryHeldError(self.path, pid) from None
            except OSError as error:
                self._close()
                raise _refused(self.path, error) from error
            # Who held it last may have removed it, and another may have made it anew.
            if _is_same(self.fd, self.path):
                return self
            self._close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        os.close(self.fd)
        self.fd = -1


def holder(path: Path, proc: Path = PROC) -> int | None:
    """The process that holds the lock of a directory; None: nobody, or nobody who can be seen from here."""
    fd = _open(path)
    try:
        return _holder(fd, proc)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> OomTracerError:
    return OomTracerError(
        f"cannot lock {path}: {errno_name(error.errno or 0)}",
        hint="give a directory that this process may read",
    )


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _holder(fd: int, proc: Path = PROC) -> int | None:
    """From lines such as ``2: FLOCK  ADVISORY  WRITE 812 fd:00:131074 0 EOF``."""
    with suppress(OSError):
        wanted = f"{_device(fd, proc)}:{os.fstat(fd).st_ino}"
        for line in (proc / "locks").read_text().splitlines():
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _device(fd: int, proc: Path) -> str:
    """As /proc/locks tells it, in hexadecimal: that of the mount. Btrfs tells stat(2) another one."""
    fdinfo = (proc / f"self/fdinfo/{fd}").read_text().split()
    mount = fdinfo[fdinfo.index("mnt_id:") + 1]
    for line in (proc / "self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ", 3)
        if fields[0] == mount:
            major, minor = fields[2].split(":")
            return f"{int(major):02x}:{int(minor):02x}"
    device = os.fstat(fd).st_dev
    return f"{os.major(device):02x}:{os.minor(device):02x}"

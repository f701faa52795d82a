"""A memory cgroup for the victim: made, limited, and removed whatever happens."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from oomtracer.errors import OomTracerError, UnsupportedError, errno_name
from oomtracer.kernel import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "oomtracer-selftest-"
_REMOVE_SECONDS = 5.0
_STALE_SECONDS = 60.0
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENOENT, errno.EOPNOTSUPP})


@contextmanager
def victim_cgroup(limit_bytes: int) -> Iterator[Path]:
    """A cgroup at the top of the memory hierarchy that may use ``limit_bytes``, without swap.

    Raises UnsupportedError where cgroups cannot be made here, as in an ordinary container.
    """
    root, version = facts.memory_cgroup_mount()
    if version == "none":
        raise UnsupportedError(
            "no cgroup hierarchy with a memory controller is mounted",
            hint="run the self-test on the host itself",
        )
    # Process ids repeat in other pid namespaces, and these may share the hierarchy.
    path = root / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    _remove_stale(root)
    with _memory_enabled(root, version):
        try:
            path.mkdir(mode=0o755)
        except OSError as error:
            raise _refused(path, error) from error
        try:
            try:
                _set_limit(path, limit_bytes)
            except OSError as error:
                raise _refused(path, error) from error
            yield path
        finally:
            _remove(path)


def _refused(path: Path, error: OSError) -> OomTracerError:
    message = f"cannot make the cgroup {path}: {errno_name(error.errno or 0)}"
    if error.errno in _REFUSED:
        return UnsupportedError(
            message, hint="run the self-test as root on the host itself, where cgroups are writable"
        )
    return OomTracerError(message)


@contextmanager
def _memory_enabled(root: Path, version: facts.CgroupVersion) -> Iterator[None]:
    """Cgroup v2: the root must hand the controller down; where it did not, it is as before afterwards."""
    control = root / "cgroup.subtree_control"
    if version != "v2" or "memory" in control.read_text().split():
        yield
        return
    try:
        control.write_text("+memory")
    except OSError as error:
        raise _refused(root, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            control.write_text("-memory")


def _set_limit(path: Path, limit_bytes: int) -> None:
    v2 = path / "memory.max"
    if v2.exists():
        v2.write_text(str(limit_bytes))
        _write_if_there(path / "memory.swap.max", "0")
    else:
        (path / "memory.limit_in_bytes").write_text(str(limit_bytes))
        _write_if_there(path / "memory.memsw.limit_in_bytes", str(limit_bytes))


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _remove_stale(root: Path) -> None:
    """Empty cgroups that a self-test which was itself killed left behind: none lives that long."""
    for path in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.rmdir()


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            for pid in (path / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise OomTracerError(
                    f"cannot remove the cgroup {path}: {errno_name(error.errno or 0)}", hint=f"rmdir {path}"
                ) from error
            time.sleep(0.01)  # a killed process leaves its cgroup a little after its death
        else:
            return

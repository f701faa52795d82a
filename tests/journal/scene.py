"""Journals on real files, for a coroutine to use."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

import pytest

from oomtracer.events import Workload, WorkloadKind
from oomtracer.journal import Journal, ReportRow, Retention
from tests.unit.builders import BOOT_ID, POD_UID, report

RING = "00c0ffee00c0ffee"
OTHER_RING = "00c0ffee00c0ff00"
BASE_US = 1_772_368_496_789_012
REQUIRED = os.environ.get("OOMTRACER_KERNEL_TESTS") == "1"


def numbered(number: int, **changes):
    """Build the report of one of many kills, a second apart."""
    seconds, micros = divmod(BASE_US + number * 10**6, 10**6)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    plain = {"id": f"{BOOT_ID}:{number}:7", "time": f"{stamp}.{micros:06}Z", "boot_time_ns": number * 10**9}
    return report(**(plain | changes))


def row(number: int, *, pending=0, decision="", **changes) -> ReportRow:
    """Build its row."""
    return ReportRow(report=numbered(number, **changes), pending=pending, decision=decision)


def in_pod(name: str = "web-1", namespace: str = "shop", uid: str = POD_UID) -> Workload:
    """Build a pod's workload."""
    return Workload(kind=WorkloadKind.POD, namespace=namespace, pod=name, pod_uid=uid)


def in_unit(name: str) -> Workload:
    """Build a unit's workload."""
    return Workload(kind=WorkloadKind.UNIT, unit=name, slice="system.slice")


def ids(rows) -> list[str]:
    """Tell the ids of report rows."""
    return [each.report.id for each in rows]


@asynccontextmanager
async def journal(directory: Path, **retention) -> AsyncIterator[Journal]:
    """Run a journal; all that was submitted must have been written at its end."""
    opened = Journal(directory, Retention(**({"boot_id": BOOT_ID} | retention)))
    await opened.start()
    try:
        yield opened
    finally:
        lost = await opened.close(20)
    assert lost == 0


async def until(condition: Callable[[], bool], patience_s: float = 20) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - the thread sets no event of this loop
            await asyncio.sleep(0.005)


@contextmanager
def tmpfs(target: Path, options: str) -> Iterator[Path]:
    """Mount a small file system of memory; where that is impossible, skip, or fail where it is a must."""
    target.mkdir()
    _mounted("-t", "tmpfs", "-o", options, "oomtracer-tests", str(target))
    try:
        yield target
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


class Disk:
    """An ext4 file system in a file, which can lose its power. ``target`` is a link to where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "disk"
        self._mount = folder / "mount"
        self._image = folder / "image"

    def __enter__(self) -> Self:
        self._mount.mkdir()
        with self._image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        _mounted("-o", "loop", str(self._image), str(self._mount))
        self.target.symlink_to(self._mount)
        return self

    def __exit__(self, *_) -> None:
        subprocess.run(["umount", "-l", str(self._mount)], check=True)

    def fail(self) -> None:
        """Answer everything with EIO from now on; what was not made to last is lost."""
        fd = os.open(self.target, os.O_RDONLY)
        fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_ITS_JOURNAL))
        os.close(fd)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let everything that writes to it wait, for a while."""
        fd = os.open(self.target, os.O_RDONLY)
        fcntl.ioctl(fd, _FIFREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, _FITHAW, 0)
            os.close(fd)

    def replace(self) -> None:
        """Mount what is left of it once more, in place of the one that fails."""
        self.target.unlink()  # nobody finds the empty directory that it was mounted on
        deadline = time.monotonic() + 20
        while self._is_dead():
            # As long as somebody has a file of it open, the kernel mounts the same one again.
            assert time.monotonic() < deadline
            self.__exit__()
            _mounted("-o", "loop", str(self._image), str(self._mount))
        self.target.symlink_to(self._mount)

    def _is_dead(self) -> bool:
        try:
            (self._mount / "probe").touch()
        except OSError:
            return True
        return False


# include/uapi/linux/ext4.h: _IOR('X', 125, __u32), EXT4_GOING_FLAGS_NOLOGFLUSH
_EXT4_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_ITS_JOURNAL = 2
# include/uapi/linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int)
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878


def _mounted(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"a mount needs root: run `sudo make test` ({done.stderr.strip()})"
        (pytest.fail if REQUIRED else pytest.skip)(reason)


def remount(target: Path, options: str) -> None:
    """Change a mount."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(target)], check=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Leave no room at all on a file system, for a while."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    yield
    ballast.unlink()


def recent_ids(connection: sqlite3.Connection, count: int) -> list[str]:
    """Read the ids of the last so many reports, the oldest first."""
    rows = connection.execute("SELECT id FROM reports ORDER BY n DESC LIMIT ?", (count,)).fetchall()
    return [row[0] for row in reversed(rows)]

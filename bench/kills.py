"""Real, contained kills: processes of ``tests/kernel/victim.c`` in small cgroups of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agent import DEADLINE_SECONDS, BenchError

from oomtracer.kernel import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
SOURCE = Path(__file__).parent.parent / "tests/kernel/victim.c"
# A paced victim grows for long enough that its parent waits for the report before it can come.
PACED_LIMIT_BYTES, PACED_BYTES = 16 * MIB, 32 * MIB
STORM_LIMIT_BYTES, STORM_BYTES = 2 * MIB, 4 * MIB


class Victims:
    """Kills on demand; a context manager that owns the cgroups. ``storms``: how many at the same time."""

    def __init__(self, directory: Path, *, storms: int) -> None:
        self.program = directory / "victim"
        self._storms = storms
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        subprocess.run(["gcc", "-O1", "-static", "-o", self.program, SOURCE, "-lpthread"], check=True)
        with self._stack as stack:
            stack.enter_context(_memory_enabled())
            self._paced = stack.enter_context(_cgroup("paced", PACED_LIMIT_BYTES))
            self._storm = [
                stack.enter_context(_cgroup(f"{i}", STORM_LIMIT_BYTES)) for i in range(self._storms)
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def one(self) -> subprocess.Popen[bytes]:
        """Start a process that will be killed."""
        return subprocess.Popen([self.program, self._paced / "cgroup.procs", "grow", str(PACED_BYTES)])

    @contextmanager
    def storm(self, kills: int) -> Iterator[None]:
        """Make kills as fast as the machine can, while the block runs and until they are made."""
        shares = [kills // self._storms + (i < kills % self._storms) for i in range(self._storms)]
        with ExitStack() as stack:
            processes = [
                stack.enter_context(
                    subprocess.Popen(
                        [self.program, cgroup / "cgroup.procs", "storm", str(STORM_BYTES), str(share)]
                    )
                )
                for cgroup, share in zip(self._storm, shares, strict=True)
            ]
            try:
                yield
                failed = [process for process in processes if process.wait(DEADLINE_SECONDS) != 0]
            finally:
                for process in processes:
                    process.kill()
        if failed:
            raise BenchError("a victim was not killed")


def kernel_kills() -> int:
    """The kernel's own count since boot."""
    kills = facts.oom_kills_since_boot()
    if kills is None:
        raise BenchError("this kernel does not count its OOM kills in /proc/vmstat")
    return kills


@contextmanager
def _memory_enabled() -> Iterator[None]:
    """Cgroup v2: the root must hand the controller down; where it did not, it is as before afterwards."""
    root, version = facts.memory_cgroup_mount()
    control = root / "cgroup.subtree_control"
    if version != "v2" or "memory" in control.read_text().split():
        yield
        return
    control.write_text("+memory")
    try:
        yield
    finally:
        with suppress(OSError):
            control.write_text("-memory")


@contextmanager
def _cgroup(name: str, limit_bytes: int) -> Iterator[Path]:
    """A cgroup with a limit of memory, and none of it swapped."""
    root, version = facts.memory_cgroup_mount()
    if version == "none":
        raise BenchError("no cgroup hierarchy with a memory controller is mounted")
    path = root / f"oomtracer-bench-{os.getpid()}-{name}"
    path.mkdir()
    try:
        limit(path, limit_bytes)
        yield path
    finally:
        remove(path)


def limit(path: Path, limit_bytes: int) -> None:
    """Limit a cgroup's memory, and let none of it be swapped."""
    v2 = facts.memory_cgroup_mount()[1] == "v2"
    (path / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
    swap = path / ("memory.swap.max" if v2 else "memory.memsw.limit_in_bytes")
    if swap.exists():
        swap.write_text("0" if v2 else str(limit_bytes))


def remove(path: Path) -> None:
    """End what runs in a cgroup, and remove it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while path.exists():
        for pid in (path / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            path.rmdir()
        except OSError:  # a killed process leaves its cgroup a little after its death
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)

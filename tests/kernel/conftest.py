"""What a test with real kills needs: victims, cgroups of its own, the kernel's log."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from oomtracer.kernel import facts
from tests.kernel.kernel_log import KernelLog
from tests.kernel.programs import loaded, wait_for_none_but
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test of this folder makes real kills; those for another version of cgroups are left out."""
    other = []
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kernel)
        version = item.get_closest_marker("cgroup")
        if version and version.args[0] != ("v2" if Cgroup.version == "v2" else "v1"):
            other.append(item)
    if other:
        items[:] = [item for item in items if item not in other]
        config.hook.pytest_deselected(items=other)


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled victim.c; where there is no compiler, one that somebody else has compiled."""
    if given := os.environ.get("OOMTRACER_TEST_VICTIM"):
        return given
    return compile_victim(tmp_path_factory.mktemp("victim"))


def compile_victim(directory: Path) -> str:
    """The path of the compiled victim.c, in a directory."""
    path, source = directory / "victim", Path(__file__).with_name("victim.c")
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-static", "-o", path, source, "-lpthread"], check=True)
    return str(path)


class Cgroup:
    """A memory cgroup (v1 or v2) below the root of the hierarchy, and those made below it."""

    root, version = facts.memory_cgroup_mount()

    def __init__(self, path: str, made: list[Path]) -> None:
        self.path = path
        self.directory = self.root / path.strip("/")
        self._made = made
        for directory in (*reversed(self.directory.parents), self.directory):
            if directory.is_relative_to(self.root) and not directory.exists():
                self._hand_down_memory(directory.parent)
                directory.mkdir()
                made.append(directory)

    def _hand_down_memory(self, parent: Path) -> None:
        control = parent / "cgroup.subtree_control"
        if self.version == "v2" and "memory" not in control.read_text().split():
            control.write_text("+memory")

    @property
    def procs(self) -> str:
        """The file by which a process enters."""
        return str(self.directory / "cgroup.procs")

    def limit(self, size_bytes: int) -> Cgroup:
        """Limit memory, and memory with swap."""
        if self.version == "v2":
            limits = {"memory.max": size_bytes, "memory.swap.max": 0}
        else:
            limits = dict.fromkeys(("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), size_bytes)
        for name, limit in limits.items():
            if (self.directory / name).exists():  # those of swap are not, where the kernel has none
                (self.directory / name).write_text(str(limit))
        return self

    def below(self, name: str) -> Cgroup:
        """A cgroup inside this one."""
        return Cgroup(f"{self.path}/{name}", self._made)

    def remove(self) -> None:
        """Remove it before the test ends."""
        _remove(self.directory)
        self._made.remove(self.directory)


def _remove(directory: Path) -> None:
    def removed() -> bool:
        for pid in (directory / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            directory.rmdir()
        return not directory.exists()

    wait_until(removed, f"removed {directory}")


class CgroupMaker:
    """Makes cgroups by their path; whatever was made is removed at the end."""

    def __init__(self) -> None:
        self.made: list[Path] = []

    def __call__(self, path: str) -> Cgroup:
        """Make the cgroup of this path, and those above it that are missing."""
        return Cgroup(path, self.made)

    def remove_all(self) -> None:
        """Remove what was made."""
        while self.made:
            _remove(self.made.pop())


@pytest.fixture
def make_cgroup() -> Iterator[CgroupMaker]:
    """Cgroups for one test."""
    maker = CgroupMaker()
    yield maker
    maker.remove_all()


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs for one test; whatever is pinned there goes with it."""
    before = loaded()
    with mounted_bpffs(tmp_path / "bpf") as path:
        yield path
    wait_for_none_but(before)


@contextmanager
def mounted_bpffs(path: Path) -> Iterator[Path]:
    """Mount one on a new directory; whatever is pinned there goes with it."""
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=0700", "bpf", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def pin_path(bpffs: Path) -> Path:
    """Where to pin; not there yet."""
    return bpffs / "oomtracer"


@pytest.fixture
def kernel_log() -> Iterator[KernelLog]:
    """The kernel's log from here on."""
    log = KernelLog()
    yield log
    log.close()


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def grow(victim: str) -> Grow:
    """Run a victim to its end."""
    return Grow(victim)


class Grow:
    """Starts processes of victim.c."""

    def __init__(self, victim: str) -> None:
        self._victim = victim

    def start(self, cgroup: Cgroup, mode: str, size_bytes: int, *arguments: str) -> subprocess.Popen[str]:
        """Start one and leave it running."""
        return subprocess.Popen(
            [self._victim, cgroup.procs, mode, str(size_bytes), *arguments], stdout=subprocess.PIPE, text=True
        )

    def __call__(
        self, cgroup: Cgroup, mode: str = "grow", size_bytes: int = 64 * MIB, *arguments: str
    ) -> int:
        """Run one until it is killed; its process id."""
        with self.start(cgroup, mode, size_bytes, *arguments) as process:
            process.wait(30)
        assert process.returncode == -signal.SIGKILL
        return process.pid


@pytest.fixture
def cgroup(make_cgroup: CgroupMaker) -> Cgroup:
    """A small one, for a test that needs one only."""
    return make_cgroup("/oomtracer-test").limit(2 * MIB)

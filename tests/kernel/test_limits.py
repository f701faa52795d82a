"""Whose limit was hit, where several cgroups could have been: the kernel log's oom_memcg= is the oracle."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.variants import PROBES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog

# Kills compared with the log's oom_memcg=, which tells 10 in 5 seconds.
ENOUGH = 20


@pytest.mark.parametrize(
    ("limits", "hit"),
    [
        ((16, 64, 256), "/oomtracer-test/pod/container"),
        ((None, 16, 256), "/oomtracer-test/pod"),
        ((64, 16, 256), "/oomtracer-test/pod"),
        ((256, 64, 16), "/oomtracer-test"),
    ],
)
def test_the_fullest_of_several_limits(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, limits: tuple[int | None, ...], hit: str
) -> None:
    """Of limits far apart the one that is full was hit, and that is certain."""
    names = ("/oomtracer-test/pod/container", "/oomtracer-test/pod", "/oomtracer-test")
    for name, limit in reversed(list(zip(names, limits, strict=True))):
        cgroup = make_cgroup(name)
        if limit:
            cgroup.limit(limit * MIB)
    with Agent() as agent:
        logged = kernel_log.paced(lambda: grow(cgroup, "grow", 96 * MIB))
        limit_hit = agent.report_of(logged.tid)["limit"]
    assert limit_hit["cgroup"] == logged.oom_memcg == hit
    assert limit_hit["certain"]


def test_memory_charged_from_elsewhere_is_certain_by_the_kernels_word_only(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """A process of another cgroup fills the victim's: its limit is told, though it does not hold the trigger."""
    parent = make_cgroup("/oomtracer-test").limit(512 * MIB)
    mine, other = parent.below("mine").limit(16 * MIB), parent.below("other")

    def write_into_it() -> int:
        with grow.start(mine, "remote", 64 * MIB, other.procs) as writer:
            assert writer.stdout
            pid = int(writer.stdout.readline())
            assert writer.wait(30) == 0
        return pid

    with Agent() as agent:
        logged = kernel_log.paced(write_into_it)
        report = agent.report_of(logged.tid)
    assert report["trigger"]["cgroup"] == other.path
    assert report["limit"]["cgroup"] == logged.oom_memcg == mine.path
    assert report["limit"]["certain"] is (report["source"] in PROBES)


def test_contended_limits_are_never_falsely_certain(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """Processes that grow at once below nested limits: what is called certain agrees with the kernel."""
    parent = make_cgroup("/oomtracer-test").limit(24 * MIB)
    children = [parent.below(str(i)).limit(size * MIB) for i, size in enumerate((8, 14, 20))]
    told: Counter[tuple[bool, bool]] = Counter()
    with Agent() as agent:
        deadline = time.monotonic() + 60
        while told.total() < ENOUGH:
            assert time.monotonic() < deadline, told
            with ExitStack() as stack:
                processes = [
                    stack.enter_context(grow.start(child, "grow", 40 * MIB))
                    for child in (*children, *children)
                ]
                killed = [process.pid for process in processes if process.wait(30) != 0]
            reports = {report["victim"]["pid"]: report for report in (agent.report() for _ in killed)}
            assert set(reports) == set(killed)
            for pid, report in reports.items():
                right = kernel_log.kill_of(pid).oom_memcg
                if right is not None:  # the line that says so is rate-limited
                    told[report["limit"]["certain"], report["limit"]["cgroup"] == right] += 1
    assert told[True, False] == 0, told
    assert told[True, True] > 0, told


@pytest.mark.cgroup("v1")
def test_the_limit_of_memory_and_swap(make_cgroup: CgroupMaker, grow: Grow, tmp_path: Path) -> None:
    """Where swap counts, the limit of memory and swap together is the one that was hit."""
    cgroup = make_cgroup("/oomtracer-test")
    (cgroup.directory / "memory.limit_in_bytes").write_text(str(16 * MIB))
    (cgroup.directory / "memory.memsw.limit_in_bytes").write_text(str(24 * MIB))
    with swap(tmp_path), Agent() as agent:
        report = agent.report_of(grow(cgroup))
    [level] = report["levels"]
    assert level["includes_swap"]
    assert report["limit"]["limit_bytes"] == level["limit_bytes"] == 24 * MIB
    assert report["victim"]["swap_bytes"] > 0


@pytest.mark.cgroup("v2")
def test_swap_beside_memory(make_cgroup: CgroupMaker, grow: Grow, tmp_path: Path) -> None:
    """In cgroup v2 swap has a limit beside that of memory: the victim's share of it is told."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    (cgroup.directory / "memory.swap.max").write_text(str(8 * MIB))
    with swap(tmp_path), Agent() as agent:
        report = agent.report_of(grow(cgroup))
    [level] = report["levels"]
    assert not level["includes_swap"]
    assert report["limit"]["limit_bytes"] == 16 * MIB
    assert 0 < report["victim"]["swap_bytes"] <= 8 * MIB


@contextmanager
def swap(directory: Path) -> Iterator[None]:
    """64 MiB of swap space for a while, on a loop device: not every file system can hold a swap file."""
    path = directory / "swap"
    path.write_bytes(bytes(64 * MIB))
    device = run("losetup", "--find", "--show", path)
    try:
        run("mkswap", device)
        run("swapon", device)
        try:
            yield
        finally:
            run("swapoff", device)
    finally:
        run("losetup", "--detach", device)


def run(*command: str | Path) -> str:
    """What a command printed; it may not fail."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

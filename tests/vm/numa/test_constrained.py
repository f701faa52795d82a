"""Two memory nodes: a cpuset and a memory policy can run out of memory while the machine does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from oomtracer.kernel import facts
from tests.kernel.agent import Agent, Report
from tests.kernel.conftest import Cgroup
from tests.kernel.test_reports import assert_agrees
from tests.kernel.test_storm import kernel_kills
from tests.kernel.variants import PROBES

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog, LoggedKill

EVERYTHING = 1 << 40
SMALL_NODE = 1
# Without a probe: on several nodes the stack looks the same for all three.
HOOKS = {"by probe": (), "by stack": ("--disable-hook=fentry/out_of_memory,kprobe/out_of_memory",)}


def in_a_cpuset(make_cgroup: CgroupMaker, grow: Grow) -> int:
    """A process whose cgroup may use the small node alone."""
    cgroup = make_cgroup("/oomtracer-test/cpuset")
    for directory in (Cgroup.root, cgroup.directory.parent):
        (directory / "cgroup.subtree_control").write_text("+cpuset")
    (cgroup.directory / "cpuset.mems").write_text(str(SMALL_NODE))
    return grow(cgroup, "grow", EVERYTHING)


def with_a_policy(make_cgroup: CgroupMaker, grow: Grow) -> int:
    """A process that asked for memory of the small node alone."""
    return grow(make_cgroup("/oomtracer-test/policy"), "bind", EVERYTHING, str(SMALL_NODE))


def anywhere(make_cgroup: CgroupMaker, grow: Grow) -> int:
    """A process that takes all nodes' memory."""
    return grow(make_cgroup("/oomtracer-test/anywhere"), "grow", EVERYTHING)


def test_there_are_two_nodes() -> None:
    """Otherwise the tests below would show nothing."""
    assert facts.memory_nodes() == 2


@dataclass(frozen=True)
class Kill:
    """How to run out of memory, and how the kernel's log and a report call it."""

    make: Callable[[CgroupMaker, Grow], int]
    constraint: str
    scope: str


@pytest.mark.parametrize("hooks", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize(
    "kill",
    [
        Kill(in_a_cpuset, "CONSTRAINT_CPUSET", "cpuset"),
        Kill(with_a_policy, "CONSTRAINT_MEMORY_POLICY", "mempolicy"),
        Kill(anywhere, "CONSTRAINT_NONE", "global"),
    ],
    ids=lambda kill: kill.scope,
)
def test_the_constraint_is_the_kernels(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, hooks: tuple[str, ...], kill: Kill
) -> None:
    """Told as the kernel's log tells it where a probe can read it, else as unknown, never as one of the others."""
    with Agent(*hooks) as agent:
        before = kernel_kills()
        logged: LoggedKill = kernel_log.paced(lambda: kill.make(make_cgroup, grow))
        report: Report = agent.report_of(logged.tid)
        assert agent.stop()[0] == 0
        agent.log.until(f"kills observed: {kernel_kills() - before}, lost: none")
    assert logged.constraint == kill.constraint
    assert (report["source"] in PROBES) is (not hooks)
    assert report["scope"] == ("unknown" if hooks else kill.scope)
    assert report["limit"] is None
    assert_agrees(report, logged)

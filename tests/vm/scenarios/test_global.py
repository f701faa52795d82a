"""The whole machine runs out of memory, or is told so by sysrq: the kernel's log and its count are the oracle."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent, Report, get, metric
from tests.kernel.conftest import MIB, Cgroup
from tests.kernel.test_reports import assert_agrees
from tests.kernel.test_storm import kernel_kills, serving_port
from tests.kernel.variants import PROBES
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog

# More than a guest has.
EVERYTHING = 1 << 40
SYSRQ = Path("/proc/sysrq-trigger")
KUBEPODS = "/kubepods.slice/kubepods-burstable.slice"
POD = f"{KUBEPODS}/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice"


def exhaust(cgroup: Cgroup, grow: Grow, kernel_log: KernelLog) -> int:
    """A process without a limit takes all memory there is, until it is killed; its thread that was."""
    kills = kernel_kills()
    pid = grow(cgroup, "grow", EVERYTHING)
    wait_until(lambda: kernel_kills() > kills, "the kernel has counted it")
    return kernel_log.kill_of(pid).tid


def test_the_machine_runs_out_of_memory(make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog) -> None:
    """Scope global, no limit, the pod it was; the agent, which is not in the way, tells it at once."""
    cgroup = make_cgroup(f"{POD}/cri-containerd-{'5' * 64}.scope")
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        tid = exhaust(cgroup, grow, kernel_log)
        report = agent.report_of(tid)
        page = get(f"http://127.0.0.1:{serving_port(agent)}/metrics")[1]
        assert metric(page, "oom_tracer_kills_total", scope="global", limit_owner="none") == 1
        assert agent.stop() == (0, [])
    assert_agrees(report, kernel_log.kill_of(tid))
    assert kernel_log.kill_of(tid).constraint == "CONSTRAINT_NONE"
    assert (report["scope"], report["sysrq"], report["limit"]) == ("global", False, None)
    assert report["workload"]["pod_uid"] == "01234567-89ab-cdef-0123-456789abcdef"
    assert report["trigger"] is not None


def test_the_agent_reports_on_while_memory_is_gone(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """Three times all memory goes, with the agent locked in its own: it lives, and each kill is told."""
    cgroup = make_cgroup("/oomtracer-test")
    with Agent() as agent:
        locked = [
            line for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines() if "VmLck" in line
        ]
        assert int(locked[0].split()[1]) > 0
        before = kernel_kills()
        killed = [exhaust(cgroup, grow, kernel_log) for _ in range(3)]
        reports = [agent.report_of(tid) for tid in killed]
        assert [report["scope"] for report in reports] == ["global"] * 3
        assert agent.stop() == (0, [])
        assert kernel_kills() - before == 3
        agent.log.until("kills observed: 3, lost: none")


def kill_by_sysrq(agent: Agent, cgroup: Cgroup, grow: Grow) -> tuple[int, Report]:
    """Ask the kernel to kill while a volunteer holds some memory; the volunteer and its report."""
    with grow.start(cgroup, "hold", 16 * MIB) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holding\n"
        SYSRQ.write_text("f")
        assert holder.wait(30) == -signal.SIGKILL
    return holder.pid, agent.report_of(holder.pid)


@pytest.mark.parametrize("hooks", [(), ("--disable-hook=fentry/out_of_memory,kprobe/out_of_memory",)])
def test_sysrq_asks_for_a_kill(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, hooks: tuple[str, ...]
) -> None:
    """Told as sysrq, by the stack or by the kernel's own word, and nobody's allocation is blamed."""
    with Agent(*hooks) as agent:
        pid, report = kill_by_sysrq(agent, make_cgroup("/oomtracer-test"), grow)
        assert agent.stop() == (0, [])
    assert_agrees(report, kernel_log.kill_of(pid))
    assert (report["scope"], report["sysrq"], report["limit"]) == ("global", True, None)
    assert report["trigger"] is None
    assert report["order"] == (-1 if report["source"] in PROBES else None)
    assert any(frame.startswith("moom_callback+") for frame in report["kernel_stack"])

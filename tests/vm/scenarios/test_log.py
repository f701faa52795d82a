"""What the log says when the whole machine runs out of memory, held against what the hooks said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oomtracer.backfill import read_log
from tests.kernel.agent import Agent
from tests.kernel.test_backfill import assert_is_the_logs, known, of_thread, recovered
from tests.vm.scenarios.test_global import POD, exhaust, kill_by_sysrq

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog


def test_the_machine_runs_out_of_memory(make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog) -> None:
    """Global by the log's own word: the pod it was, no limit, and who asked for memory."""
    cgroup = make_cgroup(f"{POD}/cri-containerd-{'5' * 64}.scope")
    with Agent() as agent:
        tid = exhaust(cgroup, grow, kernel_log)
        hooks = agent.report_of(tid)
        assert agent.stop() == (0, [])
    log = read_log()
    told = of_thread(recovered(log), tid)
    assert_is_the_logs(told, kernel_log.kill_of(tid))
    assert (told["scope"], told["sysrq"], told["limit"]) == ("global", False, None)
    assert told["workload"] == hooks["workload"]
    assert told["trigger"]["comm"] == hooks["trigger"]["comm"]
    assert told["trigger"]["pid"] in (None, hooks["trigger"]["pid"])
    assert told["id"] not in {report["id"] for report in recovered(log, [known(hooks)])}


def test_sysrq_asks_for_a_kill(make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog) -> None:
    """Told as sysrq by the order that no allocation has, and nobody is blamed for it."""
    with Agent() as agent:
        pid, hooks = kill_by_sysrq(agent, make_cgroup("/oomtracer-test"), grow)
        assert agent.stop() == (0, [])
    log = read_log()
    told = of_thread(recovered(log), pid)
    assert_is_the_logs(told, kernel_log.kill_of(pid))
    assert (told["scope"], told["sysrq"], told["order"]) == ("global", True, -1)
    assert (told["limit"], told["trigger"]) == (None, None)
    assert told["victim"]["cgroup"] == hooks["victim"]["cgroup"]

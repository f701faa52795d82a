"""What OOMPolicy= makes of a kill in a service with two processes, and what of it the agent sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.test_reports import assert_agrees
from tests.kernel.test_storm import kernel_kills
from tests.kernel.waiting import wait_until
from tests.vm.systemd.conftest import show, start_until_killed, systemctl

if TYPE_CHECKING:
    from tests.kernel.kernel_log import KernelLog
    from tests.vm.systemd.conftest import Units

UNIT = "pair.service"
PATH = f"/system.slice/{UNIT}"


def write_pair(units: Units, victim: str, policy: str, *, main_grows: bool = True) -> None:
    """A service whose main process and one other share a limit; one holds a little, the other grows."""
    hold = f"{victim} /dev/null hold {4 * MIB} 0"
    grow = f"{victim} /dev/null grow {64 * MIB}"
    first, main = (hold, grow) if main_grows else (grow, hold)
    lines = [f'ExecStart=/bin/sh -c "{first} & exec {main}"', "MemoryMax=16M", "MemorySwapMax=0"]
    units.write(UNIT, "[Service]", *lines, f"OOMPolicy={policy}")


def test_kill_takes_the_whole_unit(units: Units, victim: str, kernel_log: KernelLog) -> None:
    """The kernel kills the unit as a group, one incident; a process that systemd was faster with is not told.

    Such a one is no kill by the kernel's own count either, which has the chosen process twice.
    """
    write_pair(units, victim, "kill")
    before = kernel_kills()
    with Agent() as agent:
        pid = start_until_killed(UNIT)
        status, reports = agent.stop()
        assert status == 0
    assert kernel_kills() - before == len(reports) + 1
    assert 1 <= len(reports) <= 2
    chosen = reports[0]
    assert chosen["victim"]["pid"] == pid
    groups = [{"id": chosen["id"], "index": index} for index in range(len(reports))]
    assert [report["group"] for report in reports] == groups
    assert chosen["limit"]["owner"] == "unit"
    for report in reports:
        assert_agrees(report, kernel_log.kill_of(report["victim"]["tid"]))
        assert (report["workload"]["unit"], report["incident"]) == (UNIT, chosen["id"])
        assert report["levels"][0]["oom_group"]
        assert report["limit"] == chosen["limit"]


def test_stop_ends_the_others_without_the_kernel(units: Units, victim: str, kernel_log: KernelLog) -> None:
    """The kernel kills one process, which is told; systemd ends the other by SIGTERM, which is no kill."""
    write_pair(units, victim, "stop", main_grows=False)
    with Agent() as agent:
        systemctl("start", UNIT, check=False)
        report = agent.report()
        wait_until(lambda: show(UNIT, "ActiveState") == "failed", "systemd has stopped the unit")
        assert show(UNIT, "Result") == "oom-kill"
        assert agent.stop() == (0, [])
    assert report["victim"]["pid"] != int(show(UNIT, "ExecMainPID"))
    assert (report["group"], report["levels"][0]["oom_group"]) == (None, False)
    assert report["workload"]["unit"] == UNIT
    assert_agrees(report, kernel_log.kill_of(report["victim"]["tid"]))


def test_continue_leaves_the_others(units: Units, victim: str, kernel_log: KernelLog) -> None:
    """The kernel kills one process, which is told; the unit goes on with the other."""
    write_pair(units, victim, "continue", main_grows=False)
    with Agent() as agent:
        systemctl("start", UNIT)
        report = agent.report()
        assert agent.stop() == (0, [])
    main = int(show(UNIT, "MainPID"))
    assert (show(UNIT, "ActiveState"), show(UNIT, "Result")) == ("active", "success")
    assert Path("/sys/fs/cgroup" + PATH, "cgroup.procs").read_text().split() == [str(main)]
    assert report["victim"]["pid"] != main
    assert report["group"] is None
    assert_agrees(report, kernel_log.kill_of(report["victim"]["tid"]))

"""Kills in units of systemd's own making: each is attributed to its unit, and agrees with the kernel's log."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.test_reports import assert_agrees
from tests.vm.systemd.conftest import show, start_until_killed, systemctl, wait_until_killed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.agent import Report
    from tests.kernel.kernel_log import KernelLog, LoggedKill
    from tests.vm.systemd.conftest import Units

LIMIT = ("MemoryMax=16M", "MemorySwapMax=0")
LIMIT_FLAGS = [f"--property={each}" for each in LIMIT]


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """One agent for all tests of this module."""
    with Agent() as running:
        yield running


@pytest.fixture
def grow_command(victim: str) -> list[str]:
    """A command that grows beyond the limit, in whatever cgroup it is started in."""
    return [victim, "/dev/null", "grow", str(64 * MIB)]


def assert_killed_in(report: Report, logged: LoggedKill, unit: str, slice_: str, path: str) -> None:
    """The kernel's log says the same; unit and slice are named, and the unit's own limit is certain."""
    assert_agrees(report, logged)
    assert logged.task_memcg == report["victim"]["cgroup"] == path
    workload = report["workload"]
    assert (workload["kind"], workload["unit"], workload["slice"]) == ("unit", unit, slice_)
    limit = report["limit"]
    assert (limit["cgroup"], limit["owner"], limit["certain"]) == (logged.oom_memcg, "unit", True)
    assert (limit["cgroup"], limit["limit_bytes"]) == (path, 16 * MIB)


def test_a_service(agent: Agent, units: Units, grow_command: list[str], kernel_log: KernelLog) -> None:
    """A service with a unit file and MemoryMax=."""
    units.write("nightly.service", "[Service]", f"ExecStart={' '.join(grow_command)}", *LIMIT)
    logged = kernel_log.paced(lambda: start_until_killed("nightly.service"))
    report = agent.report_of(logged.tid)
    assert_killed_in(report, logged, "nightly.service", "system.slice", "/system.slice/nightly.service")
    assert report["trigger"]["workload"] == report["workload"]


def test_an_instance_of_a_template(
    agent: Agent, units: Units, grow_command: list[str], kernel_log: KernelLog
) -> None:
    """The unit is the instance; systemd gives all instances a slice of their own."""
    units.write("worker@.service", "[Service]", f"ExecStart={' '.join(grow_command)}", *LIMIT)
    logged = kernel_log.paced(lambda: start_until_killed("worker@mail-in.service"))
    report = agent.report_of(logged.tid)
    unit = r"worker@mail-in.service"
    path = f"/system.slice/system-worker.slice/{unit}"
    assert_killed_in(report, logged, unit, "system-worker.slice", path)
    assert show(unit, "ControlGroup") in ("", path)


def test_a_transient_service(agent: Agent, grow_command: list[str], kernel_log: KernelLog) -> None:
    """One of systemd-run's, under the name that systemd-run tells."""
    names = []

    def run() -> int:
        command = ["systemd-run", *LIMIT_FLAGS, *grow_command]
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stderr
        match = re.search(r"unit: (\S+\.service)", told)
        assert match, told
        names.append(match[1])
        return wait_until_killed(match[1])

    logged = kernel_log.paced(run)
    report = agent.report_of(logged.tid)
    assert_killed_in(report, logged, names[-1], "system.slice", f"/system.slice/{names[-1]}")
    systemctl("reset-failed")


def run_in_scope(command: list[str], *flags: str) -> int:
    """Run a command to its end in a scope; systemd-run becomes the command, so its process id is the same."""
    with subprocess.Popen(["systemd-run", "--quiet", "--scope", *flags, *command]) as process:
        assert process.wait(120) == -signal.SIGKILL
    return process.pid


def test_a_scope(agent: Agent, grow_command: list[str], kernel_log: KernelLog) -> None:
    """A command started by systemd-run --scope."""
    logged = kernel_log.paced(lambda: run_in_scope(grow_command, "--unit=import", "--collect", *LIMIT_FLAGS))
    report = agent.report_of(logged.tid)
    assert_killed_in(report, logged, "import.scope", "system.slice", "/system.slice/import.scope")


def test_a_session_of_a_user(agent: Agent, grow_command: list[str], kernel_log: KernelLog) -> None:
    """A scope in a user's slice, as a login makes one: that slice is the innermost one."""
    flags = ("--slice=user-1000.slice", "--unit=session-7", "--uid=1000", "--collect", *LIMIT_FLAGS)
    logged = kernel_log.paced(lambda: run_in_scope(grow_command, *flags))
    report = agent.report_of(logged.tid)
    path = "/user.slice/user-1000.slice/session-7.scope"
    assert_killed_in(report, logged, "session-7.scope", "user-1000.slice", path)
    assert report["victim"]["uid"] == 1000


def test_the_limit_of_a_users_slice(agent: Agent, grow_command: list[str], kernel_log: KernelLog) -> None:
    """The victim's unit is its session; the limit is the slice's, and told as a slice's."""
    systemctl("set-property", "--runtime", "user-1000.slice", *LIMIT)
    try:
        flags = ("--slice=user-1000.slice", "--unit=session-8", "--collect")
        logged = kernel_log.paced(lambda: run_in_scope(grow_command, *flags))
    finally:
        systemctl("revert", "user-1000.slice")
    report = agent.report_of(logged.tid)
    assert_agrees(report, logged)
    assert (report["workload"]["unit"], report["workload"]["slice"]) == ("session-8.scope", "user-1000.slice")
    assert (report["limit"]["owner"], report["limit"]["certain"]) == ("slice", True)
    assert report["limit"]["cgroup"] == logged.oom_memcg == "/user.slice/user-1000.slice"

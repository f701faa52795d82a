"""The verdict on what a guest sent back: whatever is not a clean pass is a fault."""

from __future__ import annotations

import json

import pytest

from tests.vm.guests import Guest
from tests.vm.machine import splats
from tests.vm.run import Result, judge

GUEST = Guest(kernel="1.0", package="p", arch="x86_64", cgroup="v2", hooks=("one", "two"))
CASES = '<testcase classname="a" name="one"/><testcase classname="a" name="two"/>'
CHECK = json.dumps({"checks": [], "hooks": [{"name": name, "used": True} for name in GUEST.hooks]})


def verdict(
    *,
    junit: str | None = CASES,
    status: str = "0\n",
    check: str = CHECK,
    kernel: str = "",
    selected: str = "2",
    tainted: str = "0\n",
) -> Result:
    """What is made of these files."""
    files = {"status": status, "check.json": check, "dmesg.txt": kernel, "pytest.txt": "told\n"}
    files |= {"selected": selected, "tainted": tainted}
    if junit is not None:
        files["junit.xml"] = f"<testsuites><testsuite>{junit}</testsuite></testsuites>"
    result = Result(guest=GUEST.name)
    judge(result, GUEST, {name: text.encode() for name, text in files.items()}, console="")
    return result


def test_a_clean_run_has_no_fault() -> None:
    """Every test passed, the hooks are those expected."""
    result = verdict()
    assert (result.faults, result.passed, result.hooks) == ([], 2, ["one", "two"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"junit": None},
        {"junit": ""},
        {"junit": '<testcase classname="a" name="one"><skipped message="no"/></testcase>'},
        {"status": "1\n"},
        {"status": ""},
        {"check": ""},
        {"check": json.dumps({"hooks": [{"name": "one", "used": True}, {"name": "two", "used": False}]})},
        {"check": CHECK[:-5]},
        {"selected": "3"},
        {"selected": ""},
        {"tainted": f"{1 << 9}\n"},
        {"tainted": ""},
        {
            "junit": CASES + '<testcase><properties><property value="one"/></properties></testcase>',
            "selected": "3",
        },
        {"kernel": "[    1.0] BUG: unable to handle page fault for address: 0"},
    ],
)
def test_anything_else_is_a_fault(wrong: dict[str, str | None]) -> None:
    """No results, no test, a skipped or failed one, no or another hook, a fault of the kernel."""
    assert verdict(**wrong).faults  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 copy_process+0x1/0x2",
        "Oops: 0002 [#1] SMP",
        "Kernel panic - not syncing: Attempted to kill init!",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "kernel BUG at mm/slub.c:1!",
        "Internal error: Oops - BUG: 0 [#1] SMP",
        "Unable to handle kernel NULL pointer dereference at virtual address 0",
        "INFO: task init:1 blocked for more than 120 seconds.",
    ],
)
def test_a_fault_of_the_kernel_is_seen(line: str) -> None:
    """What kernels say when something is wrong with them."""
    assert splats(f"[    1.0] fine\n[    2.0] {line}\n") == [f"[    2.0] {line}"]


def test_an_ordinary_kill_is_no_fault() -> None:
    """The log of an OOM kill, with its call trace, is what these tests are about."""
    log = "Call Trace:\n dump_stack+0x1\nMemory cgroup out of memory: Killed process 1 (a) total-vm:1kB"
    assert splats(log) == []

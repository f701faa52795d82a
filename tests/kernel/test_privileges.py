"""What the agent needs of the kernel, and leaves in it: privileges, programs, mounts."""

from __future__ import annotations

import platform
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent, get, metric, run_oomtracer
from tests.kernel.conftest import MIB
from tests.kernel.programs import loaded, wait_for_none_but
from tests.kernel.variants import PROBES

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow

# CAP_BPF, CAP_PERFMON and CAP_SYSLOG by number: setpriv of Debian 12 does not know the first two's names.
BPF, PERFMON, SYSLOG, SYS_RESOURCE = "cap_39", "cap_38", "cap_34", "cap_24"
# Before Linux 5.11 maps count against RLIMIT_MEMLOCK, which only CAP_SYS_RESOURCE raises.
RELEASE = tuple(int(part) for part in platform.release().split(".")[:2])
LOADING = (BPF, PERFMON) if RELEASE >= (5, 11) else (BPF, PERFMON, SYS_RESOURCE)


def with_only(*capabilities: str) -> list[str]:
    """A command prefix that leaves root with no other capabilities than these."""
    kept = "".join(f",+{capability}" for capability in capabilities)
    return ["setpriv", f"--bounding-set=-all{kept}", f"--inh-caps=-all{kept}"]


def test_it_leaves_nothing_behind(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """After a clean stop no program is loaded and nothing is mounted that was not before."""
    before, mounts = loaded(), Path("/proc/self/mounts").read_text()
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent() as agent:
        assert loaded() - before
        agent.report_of(grow(cgroup))
        assert agent.stop(signal.SIGINT) == (0, [])
    wait_for_none_but(before)
    assert Path("/proc/self/mounts").read_text() == mounts


def test_three_capabilities_are_enough(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """With CAP_BPF, CAP_PERFMON and CAP_SYSLOG alone a report is complete."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent(prefix=with_only(*LOADING, SYSLOG)) as agent:
        report = agent.report_of(grow(cgroup))
    assert (report["scope"], report["limit"]["certain"]) == ("memcg", True)
    assert report["kernel_stack"]


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [((), "CAP_BPF and CAP_PERFMON"), ((PERFMON, SYSLOG), "CAP_BPF"), ((BPF, SYSLOG), "CAP_PERFMON")],
)
def test_a_missing_capability_is_named(capabilities: tuple[str, ...], missing: str) -> None:
    """Without what loading needs: exit 3, and two lines that say which capability and how to grant it."""
    result = run_oomtracer("run", prefix=with_only(*capabilities))
    assert result.returncode == 3
    error, hint = result.stderr.splitlines()
    assert error == f"error: cannot load BPF programs without {missing}"
    assert hint.startswith("hint: ")
    check = run_oomtracer("check", prefix=with_only(*capabilities))
    assert check.returncode == 3
    assert re.search(r"^capabilities +missing", check.stdout, re.MULTILINE)


def test_without_symbols_the_stack_is_unknown(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """Without CAP_SYSLOG kills are still told; what only the kernel stack knows is unknown, never guessed.

    Where a function probe is in use the kernel says more than its stack.
    """
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    hidden = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) > 1
    with Agent(prefix=with_only(*LOADING)) as agent:
        report = agent.report_of(grow(cgroup))
    assert report["outcome"] == "killed"
    if hidden:
        told = (report["scope"], report["sysrq"], report["limit"] and report["limit"]["cgroup"])
        by_probe = report["source"] in PROBES
        assert told == (("memcg", False, cgroup.path) if by_probe else ("unknown", None, None))
        assert report["kernel_stack"] is None
    assert len(report["levels"]) == 1


def test_unsupported_can_idle(free_port: int) -> None:
    """With --on-unsupported=idle the agent stays up, alive but not ready, and says why."""
    flags = ("--on-unsupported", "idle", "--metrics-bind-address", f"127.0.0.1:{free_port}")
    with Agent(*flags, prefix=with_only(), ready=False) as agent:
        agent.log.until("idle, nothing is traced")
        base = f"http://127.0.0.1:{free_port}"
        assert get(f"{base}/healthz")[0] == 200
        status, reason = get(f"{base}/readyz")
        assert status == 503
        assert "CAP_BPF" in reason
        assert metric(get(f"{base}/metrics")[1], "oom_tracer_hook_attached", hook="tp_btf/mark_victim") == 0
        assert agent.stop() == (0, [])

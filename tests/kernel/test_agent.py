"""The agent as a process: privileges, signals, closed pipes, what it leaves behind."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import COMMAND, Agent, get, metric, run_oomtracer
from tests.kernel.conftest import MIB, wait_until
from tests.kernel.test_storm import serving_port
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


def loaded() -> set[str]:
    """The ids of our programs in the kernel."""
    programs = subprocess.run(["bpftool", "prog", "show"], capture_output=True, text=True, check=True).stdout
    names = "mark_victim_|signal_generat|out_of_memory_"
    return set(re.findall(rf"^(\d+): .* name (?:{names})", programs, re.MULTILINE))


def wait_for_none_but(before: set[str]) -> None:
    """The kernel frees programs a little after the last descriptor is closed."""
    wait_until(lambda: loaded() <= before, "our programs are gone")


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


def test_a_closed_pipe_ends_it(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """When the reader of the reports is gone: one error line and exit 1, at the next report."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent() as agent:
        assert agent.process.stdout
        agent.process.stdout.close()
        grow(cgroup)
        assert agent.process.wait(30) == 1
        errors = [line for line in agent.log.rest() if line.startswith("error:")]
        assert errors == ["error: cannot write reports to stdout: its reader is gone"]


def test_a_closed_stdout_is_refused() -> None:
    """Started without a standard output, it does not take another file for it: exit 2, two lines."""
    result = run_oomtracer("run", prefix=["sh", "-c", 'exec "$@" >&-', "sh"])
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "error: standard output is closed"


def test_a_slow_reader_loses_nothing(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """Reports wait for a reader that takes its time: more than a pipe holds, all there in the end."""
    cgroup = make_cgroup("/oomtracer-test").limit(2 * MIB)
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        url = f"http://127.0.0.1:{serving_port(agent)}/metrics"
        with grow.start(cgroup, "storm", 4 * MIB, "60") as storm:
            assert storm.wait(60) == 0
        wait_until(lambda: metric(get(url)[1], "oom_tracer_output_queue_bytes") > 0, "reports are queued")
        assert len([agent.report() for _ in range(60)]) == 60
        assert agent.stop() == (0, [])


def test_a_second_signal_ends_it_at_once(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """A stop that waits for a stuck reader is cut short by a second SIGINT."""
    cgroup = make_cgroup("/oomtracer-test").limit(2 * MIB)
    with Agent() as agent:
        with grow.start(cgroup, "storm", 4 * MIB, "60") as storm:
            assert storm.wait(60) == 0
        agent.process.send_signal(signal.SIGINT)
        agent.log.until("SIGINT: stopping")
        agent.process.send_signal(signal.SIGINT)
        assert agent.process.wait(3) == -signal.SIGINT


def test_a_hangup_stops_it_unless_it_was_started_with_nohup(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """SIGHUP is a clean stop; ignored from the start, as by nohup, it stays ignored."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent() as agent:
        assert agent.stop(signal.SIGHUP) == (0, [])
    with Agent(prefix=["nohup"]) as agent:
        agent.process.send_signal(signal.SIGHUP)
        agent.report_of(grow(cgroup))
        assert agent.stop() == (0, [])


def test_metrics_of_a_real_kill(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """A kill moves the counters it should, and the kernel's own count agrees."""
    cgroup = make_cgroup("/system.slice/oomtracer-test.service").limit(16 * MIB)
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        base = f"http://127.0.0.1:{serving_port(agent)}"
        before = get(f"{base}/metrics")[1]
        labels = {"scope": "memcg", "limit_owner": "unit"}
        assert metric(before, "oom_tracer_kills_total", **labels) == 0
        agent.report_of(grow(cgroup))
        after = get(f"{base}/metrics")[1]
        assert metric(after, "oom_tracer_kills_total", **labels) == 1
        assert metric(after, "oom_tracer_incidents_total", **labels) == 1
        assert metric(after, "oom_tracer_unit_kills_total", unit="oomtracer-test.service") == 1
        kernel = "oom_tracer_kernel_kills_total"
        assert metric(after, kernel) - metric(before, kernel) == 1
        assert metric(after, "oom_tracer_hook_attached", hook="tp_btf/signal_generate") == 1
        assert get(f"{base}/readyz") == (200, "ok\n")
        assert get(f"{base}/other")[0] == 404


def test_a_port_in_use_is_a_clear_error() -> None:
    """An address that is taken: exit 2 before anything is loaded, two lines that name it."""
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        address = f"127.0.0.1:{serving_port(agent)}"
        result = run_oomtracer("run", "--metrics-bind-address", address)
    assert result.returncode == 2
    error, hint = result.stderr.splitlines()
    assert "EADDRINUSE" in error
    assert hint.startswith("hint: ")


def test_text_is_one_block_a_kill(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """On request the report is text: the name escaped, the answer in the first line."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent("--output", "text") as agent:
        pid = grow(cgroup, "grow", 64 * MIB, r"a\x0aforged\x1b[2J")
        assert agent.reports.until("OOM kill").endswith(
            rf"OOM kill: a\x0aforged\x1b[2J (pid {pid}) on the host: the limit of a cgroup was hit"
        )
        agent.reports.until("^$")
        assert all(line.isprintable() for line in agent.reports.all)
        assert "cgroup   /oomtracer-test" in "\n".join(agent.reports.all)


def test_python_m_is_the_same_program() -> None:
    """The installed command and ``python -m oomtracer`` say the same of themselves."""
    installed = Path(COMMAND[0]).with_name("oomtracer")
    same = run_oomtracer("version").stdout
    if installed.exists():
        assert (
            subprocess.run([installed, "version"], capture_output=True, text=True, check=True).stdout == same
        )
    assert same.startswith("oomtracer ")

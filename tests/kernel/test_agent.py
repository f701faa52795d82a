"""The agent as a process: signals, closed and slow pipes, ports, text. Nothing here depends on the kernel."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import COMMAND, Agent, get, metric, run_oomtracer
from tests.kernel.conftest import MIB
from tests.kernel.test_storm import serving_port
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow

pytestmark = pytest.mark.any_kernel


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


def test_sigterm_during_a_storm(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """Told to stop while kills go on, the agent tells all that it saw, in whole lines, and ends with 0."""
    cgroup = make_cgroup("/oomtracer-test").limit(2 * MIB)
    with Agent() as agent:
        with grow.start(cgroup, "storm", 4 * MIB, "150") as storm:
            first = [agent.report() for _ in range(50)]
            code, rest = agent.stop()
            assert storm.wait(60) == 0
        assert code == 0
        agent.log.until(f"kills observed: {len(first) + len(rest)}, lost: none")


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
    with Agent(prefix=["env", "--default-signal=HUP"]) as agent:  # these tests may run under nohup themselves
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

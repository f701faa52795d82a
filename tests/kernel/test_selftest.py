"""``oomtracer selftest`` against this kernel: right, clean, and clear about why it cannot run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import COMMAND, Agent, get, metric, run_oomtracer, with_mounts
from tests.kernel.conftest import Cgroup
from tests.kernel.test_storm import serving_port
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def leftovers() -> list[Path]:
    """Cgroups of self-tests that are there now."""
    return list(Cgroup.root.glob("oomtracer-selftest-*"))


@pytest.fixture(autouse=True)
def _no_leftovers() -> object:
    yield
    assert leftovers() == []


def test_it_passes_and_times_its_steps() -> None:
    """The kill happens, the report is right, each step is told with its time, exit 0."""
    result = run_oomtracer("selftest", "--output", "json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["passed"] is True
    assert [step["name"] for step in told["steps"]] == [
        "load and attach",
        "make the cgroup",
        "start and kill a process",
        "report",
        "clean up",
    ]
    assert all(step["seconds"] > 0 for step in told["steps"])


@pytest.mark.any_kernel
def test_a_running_agent_tells_it_apart() -> None:
    """Another agent flags the kill as a self-test's and counts it apart."""
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        assert run_oomtracer("selftest").returncode == 0
        report = agent.report()
        page = get(f"http://127.0.0.1:{serving_port(agent)}/metrics")[1]
    assert report["selftest"] is True
    assert metric(page, "oom_tracer_selftest_kills_total") == 1
    assert metric(page, "oom_tracer_kills_total", scope="memcg", limit_owner="other") == 0


@pytest.mark.any_kernel
def test_read_only_cgroups_are_unsupported() -> None:
    """Where cgroups cannot be made, as in a container: exit 3, two lines."""
    result = run_oomtracer("selftest", prefix=with_mounts(f"mount -o remount,bind,ro {Cgroup.root}"))
    assert result.returncode == 3
    error, hint = result.stderr.splitlines()
    assert "EROFS" in error
    assert hint.startswith("hint: ")


@pytest.mark.any_kernel
def test_a_signal_leaves_no_cgroup() -> None:
    """Interrupted while its cgroup is there, it removes it, and says so."""
    with subprocess.Popen([*COMMAND, "selftest"], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: bool(leftovers()) or process.poll() is not None, "the cgroup is there")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) in ((0, ""), (1, errors)), errors
    assert "Traceback" not in errors


@pytest.mark.any_kernel
def test_what_a_killed_one_left_is_removed() -> None:
    """A cgroup of a self-test that was itself killed goes with the next self-test."""
    left = Cgroup.root / "oomtracer-selftest-1-0"
    left.mkdir()
    os.utime(left, (0, 0))
    assert run_oomtracer("selftest").returncode == 0


def test_it_passes_without_the_signals() -> None:
    """With the truth hook switched off an unknown outcome is what is right."""
    result = run_oomtracer("selftest", "--disable-hook", "tp_btf/signal_generate")
    assert result.returncode == 0, result.stderr

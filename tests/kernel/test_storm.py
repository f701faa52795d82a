"""Many kills at once: nothing lost, or counted exactly."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from oomtracer.kernel import facts
from tests.kernel.agent import Agent, get, metric
from tests.kernel.conftest import MIB

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow

STORM_BYTES = 4 * MIB
STORM_LIMIT_BYTES = 2 * MIB


def kernel_kills() -> int:
    """The kernel's own count since boot."""
    kills = facts.oom_kills_since_boot()
    assert kills is not None
    return kills


def test_a_storm_loses_nothing(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """300 kills as fast as the machine can make them: as many reports as the kernel counts, each once."""
    cgroups = [make_cgroup(f"/oomtracer-test/{i}").limit(STORM_LIMIT_BYTES) for i in range(3)]
    with Agent() as agent, ExitStack() as stack:
        before = kernel_kills()
        storms = [stack.enter_context(grow.start(cgroup, "storm", STORM_BYTES, "100")) for cgroup in cgroups]
        reports = [agent.report() for _ in range(300)]
        assert [storm.wait(60) for storm in storms] == [0, 0, 0]
        code, rest = agent.stop()
        assert (code, rest) == (0, [])
        assert kernel_kills() - before == 300
        assert len({report["id"] for report in reports}) == 300
        assert {report["outcome"] for report in reports} == {"killed"}
        times = [report["boot_time_ns"] for report in reports]
        assert times == sorted(times)
        agent.log.until("kills observed: 300, lost: none")


@pytest.mark.any_kernel
def test_a_full_ring_is_counted_exactly(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """While nobody reads, what the ring cannot hold is lost, and the loss is told to the kill."""
    cgroup = make_cgroup("/oomtracer-test").limit(STORM_LIMIT_BYTES)
    with Agent("--ring-size", "16KiB", "--metrics-bind-address", "127.0.0.1:0") as agent:
        url = f"http://127.0.0.1:{serving_port(agent)}/metrics"
        agent.process.send_signal(signal.SIGSTOP)
        with grow.start(cgroup, "storm", STORM_BYTES, "20") as storm:
            assert storm.wait(60) == 0
        agent.process.send_signal(signal.SIGCONT)
        reports = [agent.report()]  # the ring has room again
        last = grow(cgroup)
        while reports[-1]["victim"]["pid"] != last:
            reports.append(agent.report())
        lost = 21 - len(reports)
        page = get(url)[1]
        assert 0 < lost < 20
        assert metric(page, "oom_tracer_lost_events_total", stage="ring_full") == lost
        assert metric(page, "oom_tracer_events_total", stage="observed", reason="ebpf_capture") == len(
            reports
        )
        assert int(re.findall(r"(\d+) kills are missing", agent.log.until("kills are missing"))[0]) == lost
        assert agent.stop()[0] == 0


def serving_port(agent: Agent) -> int:
    """The port that the kernel chose for the agent's metrics, from the log before it was ready."""
    [line] = [line for line in agent.log.all if "serving /metrics" in line]
    return int(line.rpartition(":")[2])

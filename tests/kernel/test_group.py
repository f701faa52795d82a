"""``memory.oom.group``: one run of the OOM killer takes every process of a cgroup."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent, get, metric
from tests.kernel.conftest import MIB
from tests.kernel.test_reports import assert_agrees
from tests.kernel.test_storm import kernel_kills, serving_port

if TYPE_CHECKING:
    import subprocess

    from tests.kernel.conftest import Cgroup, CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog

MEMBERS = 5


def kill_a_group(cgroup: Cgroup, grow: Grow) -> set[int]:
    """Four processes that hold memory, one that takes more than is left; their ids once all are dead.

    The kernel chooses the one that takes, which cannot be gone before the others are killed.
    """
    with ExitStack() as stack:
        holders: list[subprocess.Popen[str]] = []
        for _ in range(MEMBERS - 1):
            holders.append(stack.enter_context(grow.start(cgroup, "hold", 4 * MIB, "0")))
            assert holders[-1].stdout
            assert holders[-1].stdout.readline() == "holding\n"
        grower = grow(cgroup)
        return {grower, *(holder.pid for holder in holders if holder.wait(30) != 0)}


@pytest.mark.cgroup("v2")
def test_a_group_kill_is_one_incident(make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog) -> None:
    """Five processes, five reports, one incident; the kernel counts six, since it kills the chosen one twice."""
    cgroup = make_cgroup("/oomtracer-test").limit(48 * MIB)
    (cgroup.directory / "memory.oom.group").write_text("1")
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        url = f"http://127.0.0.1:{serving_port(agent)}/metrics"
        before = kernel_kills()
        killed = kill_a_group(cgroup, grow)
        reports = [agent.report() for _ in range(MEMBERS)]
        page = get(url)[1]
        assert agent.stop() == (0, [])
    assert {report["victim"]["pid"] for report in reports} == killed
    assert len(killed) == MEMBERS
    [incident] = {report["incident"] for report in reports}
    assert incident == reports[0]["id"]
    assert [report["group"] for report in reports] == [{"id": incident, "index": i} for i in range(MEMBERS)]
    assert {report["outcome"] for report in reports} == {"killed"}
    assert all(report["limit"] == reports[0]["limit"] for report in reports)
    seconds = metric(page, "oom_tracer_second_kills_total")
    assert seconds == 1
    assert kernel_kills() - before == MEMBERS + seconds
    assert metric(page, "oom_tracer_kills_total", scope="memcg", limit_owner="other") == MEMBERS
    assert metric(page, "oom_tracer_incidents_total", scope="memcg", limit_owner="other") == 1
    for report in reports:
        assert_agrees(report, kernel_log.kill_of(report["victim"]["tid"]))

"""A victim that is exiting already: the kernel marks it, and does not kill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.agent import Agent, get, metric
from tests.kernel.conftest import MIB
from tests.kernel.test_storm import kernel_kills, serving_port

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow


def test_a_mark_without_a_kill(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """It is reported as exiting already, with all that is known of it, and neither we nor the kernel count a kill."""
    # Small: on a slow processor a kernel with a fair server (Linux 6.8) lets the dying one run after a second.
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent("--metrics-bind-address", "127.0.0.1:0") as agent:
        before = kernel_kills()
        with grow.start(cgroup, "dying", 10 * MIB) as parent:
            assert parent.stdout
            child = int(parent.stdout.readline())
            assert parent.wait(30) == 0
        report = agent.report()
        page = get(f"http://127.0.0.1:{serving_port(agent)}/metrics")[1]
        assert agent.stop() == (0, [])
    assert report["victim"]["pid"] == child
    assert report["victim"]["comm"] == "victim"
    assert report["victim"]["oom_score_adj"] == 1000
    assert report["victim"]["anon_rss_bytes"] > 9 * MIB  # older kernels keep up to 64 pages a thread apart
    assert report["victim"]["cgroup"] == cgroup.path
    assert report["trigger"]["pid"] == parent.pid
    assert report["outcome"] == "already_exiting"
    assert report["scope"] == "memcg"
    assert report["limit"]["cgroup"] == cgroup.path
    assert kernel_kills() == before
    assert metric(page, "oom_tracer_kills_total", scope="memcg", limit_owner="other") == 0

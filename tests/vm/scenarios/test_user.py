"""The agent as somebody who is not root, beside a tracefs that is root's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.test_privileges import LOADING, SYSLOG
from tests.kernel.variants import TRACEFS

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow

NOBODY = "65534"


def test_capabilities_are_enough_without_root(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """With ambient capabilities any user traces; what it may not look at is not asked for twice."""
    kept = ",".join(f"+{capability}" for capability in (*LOADING, SYSLOG))
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    user += [f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    with Agent(prefix=[*TRACEFS, *user]) as agent:
        report = agent.report_of(grow(cgroup))
        assert agent.stop() == (0, [])
    assert (report["outcome"], report["scope"], report["limit"]["certain"]) == ("killed", "memcg", True)
    assert report["kernel_stack"]

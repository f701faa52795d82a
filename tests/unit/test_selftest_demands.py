from __future__ import annotations

import json
from dataclasses import replace

import pytest

from oomtracer.events import Outcome, Scope
from oomtracer.selftest import SelftestError, SelftestResult, as_json, as_text
from oomtracer.selftest.selftest import LIMIT_BYTES, Step, _demand

from .builders import limit, report, trigger, victim

CGROUP = "/oomtracer-selftest-4242"
RIGHT = report(
    selftest=True,
    victim=victim(cgroup=CGROUP),
    trigger=trigger(pid=4242),
    limit=limit(cgroup=CGROUP, limit_bytes=LIMIT_BYTES),
)


def test_the_right_report_passes():
    """Nothing is demanded beyond what the kill must look like, in a nested hierarchy as well."""
    _demand(RIGHT, 4242, CGROUP, scope_known=True, outcome_known=True)
    nested = replace(RIGHT, victim=victim(cgroup=f"/docker/abc{CGROUP}"))
    _demand(nested, 4242, CGROUP, scope_known=True, outcome_known=True)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"outcome": Outcome.UNKNOWN}, "outcome"),
        ({"victim": victim(cgroup="/other")}, "victim.cgroup"),
        ({"victim": victim(cgroup=None)}, "victim.cgroup"),
        ({"trigger": trigger(pid=1)}, "trigger.pid"),
        ({"trigger": None}, "trigger.pid"),
        ({"scope": Scope.GLOBAL}, "scope"),
        ({"limit": None}, "limit.limit_bytes"),
        ({"limit": limit(limit_bytes=1)}, "limit.limit_bytes"),
        ({"limit": limit(limit_bytes=LIMIT_BYTES, certain=False)}, "limit.certain"),
    ],
)
def test_a_wrong_report_fails_with_what_is_wrong(changes, key):
    """Each demand that is not met is named with what was found."""
    with pytest.raises(SelftestError, match=f"the report is wrong: .*{key} is ") as caught:
        _demand(replace(RIGHT, **changes), 4242, CGROUP, scope_known=True, outcome_known=True)
    assert caught.value.exit_code == 1


def test_without_symbols_scope_and_limit_are_not_demanded():
    """Where the kernel hides its symbols the rest must still be right."""
    blind = replace(RIGHT, scope=Scope.UNKNOWN, limit=None)
    _demand(blind, 4242, CGROUP, scope_known=False, outcome_known=True)
    with pytest.raises(SelftestError):
        _demand(replace(blind, outcome=Outcome.UNKNOWN), 4242, CGROUP, scope_known=False, outcome_known=True)


def test_without_the_signals_hook_the_outcome_is_not_demanded():
    """Where nothing tells a kill from a mark, an unknown outcome is right, and a wrong one is not."""
    unknown = replace(RIGHT, outcome=Outcome.UNKNOWN)
    _demand(unknown, 4242, CGROUP, scope_known=True, outcome_known=False)
    with pytest.raises(SelftestError):
        _demand(RIGHT, 4242, CGROUP, scope_known=True, outcome_known=False)


def test_the_steps_are_told_with_their_times():
    """Text gives a line for each step in milliseconds, JSON the seconds, both in their order."""
    result = SelftestResult(steps=[Step("load and attach", 0.125), Step("report", 0.0005)])
    assert as_text(result).splitlines()[:2] == [
        "load and attach              125.0 ms",
        "report                         0.5 ms",
    ]
    told = json.loads(as_json(result))
    assert (told["passed"], [step["name"] for step in told["steps"]]) == (True, ["load and attach", "report"])


def test_a_step_is_timed_only_when_it_is_done():
    """A step that fails is not told as one that took so long."""
    result = SelftestResult()
    with result.step("one"):
        pass
    with pytest.raises(ValueError, match="no"), result.step("two"):
        raise ValueError("no")
    assert [step.name for step in result.steps] == ["one"]

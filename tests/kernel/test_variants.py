"""The same kills through every hook that this kernel has: the reports are the same but for what a hook cannot know.

Which hooks there are is read from ``oomtracer check``; so these tests run on any kernel.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from oomtracer.tracer import HOOKS
from tests.kernel.agent import Agent, run_oomtracer
from tests.kernel.conftest import MIB, Cgroup
from tests.kernel.test_reports import assert_agrees
from tests.kernel.variants import (
    CANNOT_KNOW,
    DEFAULT,
    TRACEFS,
    UNKNOWN,
    VARIANTS,
    Variant,
    comparable,
    source_with,
    unknown_with,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.agent import Report
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog

# The names of the hooks that must be in use here, by commas: set where the kernel is known (tests/vm).
EXPECTED = os.environ.get("OOMTRACER_EXPECTED_HOOKS")
# In the results: a hook that was forced, used and compared; tests/vm makes a table of them.
FORCED = "forced hook"
GROUP_OF_VICTIM = {hook.name for hook in HOOKS if hook.group == "victim"}
POD = "/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef"


def at_its_own_limit(make: CgroupMaker, grow: Grow) -> int:
    """One process, one limit."""
    grow(make("/oomtracer-test-alone").limit(16 * MIB))
    return 1


def by_another_process(make: CgroupMaker, grow: Grow) -> int:
    """The victim is not the trigger, and the limit is above both; where memory comes back late, that one follows."""
    parent = make("/oomtracer-test-pair").limit(96 * MIB)
    with grow.start(parent.below("holder"), "hold", 72 * MIB) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holding\n"
        with grow.start(parent.below("grower"), "grow", 32 * MIB) as grower:
            followed = grower.wait(30) != 0
        assert holder.wait(30) != 0
    return 1 + followed


def a_thread(make: CgroupMaker, grow: Grow) -> int:
    """The marked thread is not the leader of its process."""
    grow(make("/system.slice/oomtracer-test.service").limit(16 * MIB), "thread")
    return 1


def process_one_of_a_pod(make: CgroupMaker, grow: Grow) -> int:
    """The victim is process 1 of a pid namespace of its own."""
    with grow.start(make(f"{POD}/{'5' * 64}").limit(16 * MIB), "init", 64 * MIB) as parent:
        assert parent.wait(30) == 0
    return 1


def with_shared_memory(make: CgroupMaker, grow: Grow) -> int:
    """Two processes share the memory, and both die."""
    grow(make("/oomtracer-test-shared").limit(16 * MIB), "share")
    return 2


def a_whole_group(make: CgroupMaker, grow: Grow) -> int:
    """memory.oom.group: all three processes of the cgroup die."""
    cgroup = make("/oomtracer-test-group").limit(32 * MIB)
    (cgroup.directory / "memory.oom.group").write_text("1")
    with grow.start(cgroup, "hold", 4 * MIB) as first, grow.start(cgroup, "hold", 4 * MIB) as second:
        for holder in (first, second):
            assert holder.stdout
            assert holder.stdout.readline() == "holding\n"
        grow(cgroup)
    return 3


def an_exiting_one(make: CgroupMaker, grow: Grow) -> int:
    """The victim has its end before it already: marked, not killed, and not in the kernel's log."""
    with grow.start(make("/oomtracer-test-exiting").limit(16 * MIB), "dying", 10 * MIB) as parent:
        assert parent.wait(30) == 0
    return 1


KINDS = (
    at_its_own_limit,
    by_another_process,
    a_thread,
    process_one_of_a_pod,
    with_shared_memory,
    an_exiting_one,
    *((a_whole_group,) if Cgroup.version == "v2" else ()),
)


def used_by(hooks: dict[str, dict[str, Any]]) -> set[str]:
    """The names of those in use."""
    return {name for name, hook in hooks.items() if hook["used"]}


@cache
def hooks_of(variant: Variant) -> dict[str, dict[str, Any]]:
    """Asked once for each variant."""
    return variant.hooks()


class Kills:
    """Makes each kind of kill under one agent, and keeps what was reported."""

    def __init__(self, make: CgroupMaker, grow: Grow, log: KernelLog) -> None:
        self._make, self._grow, self._log = make, grow, log

    def reports(self, variant: Variant) -> dict[str, list[Report]]:
        """The reports of each kind; the kernel's log agrees with each that it tells."""
        told = {}
        tells_sharers = "tp_btf/signal_generate" in used_by(hooks_of(variant))
        with Agent(*variant.flags, prefix=TRACEFS) as agent:
            for kind in KINDS:
                count = kind(self._make, self._grow)
                count = 1 if kind is with_shared_memory and not tells_sharers else count
                reports = [agent.report() for _ in range(count)]
                told[kind.__name__] = reports[:1] if kind is by_another_process else reports
            assert agent.stop() == (0, [])
        logged = [reports for kind, reports in told.items() if kind != an_exiting_one.__name__]
        for report in (report for reports in logged for report in reports):
            if not report["shared_memory"]:
                assert_agrees(report, self._log.kill_of(report["victim"]["tid"]))
        return told


@pytest.fixture
def kills(make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog) -> Kills:
    """What makes them."""
    return Kills(make_cgroup, grow, kernel_log)


_default: dict[str, list[Report]] = {}


@pytest.fixture
def default_reports(kills: Kills) -> dict[str, list[Report]]:
    """What the hooks report that are used by default; made once."""
    if not _default:
        _default.update(kills.reports(DEFAULT))
    return _default


def test_every_hook_says_what_it_cannot_know() -> None:
    """The table of what cannot be known names each hook of the program."""
    assert {name for name in CANNOT_KNOW if not name.startswith("no ")} == {hook.name for hook in HOOKS}


def test_the_hooks_in_use_are_the_expected_ones() -> None:
    """One hook of each group is in use, or each of its group says why not; where the kernel is known, exactly these."""
    hooks = hooks_of(DEFAULT)
    assert set(hooks) == {hook.name for hook in HOOKS}
    for group in {hook["group"] for hook in hooks.values()}:
        mine = [hook for hook in hooks.values() if hook["group"] == group]
        assert sum(hook["used"] for hook in mine) == 1 or all(hook["reason"] for hook in mine)
    if EXPECTED is not None:
        assert used_by(hooks) == set(EXPECTED.split(","))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_reports_are_the_same(
    kills: Kills,
    default_reports: dict[str, list[Report]],
    variant: Variant,
    record_property: Callable[[str, object], None],
) -> None:
    """A hook that is forced by switching off the others tells each kind of kill as the default ones do."""
    hooks = hooks_of(variant)
    used = used_by(hooks)
    if variant.hook and variant.hook not in used:
        assert_is_refused(variant, hooks)
        return
    assert not variant.disabled & used
    record_property(FORCED, variant.hook or "")
    if used == used_by(hooks_of(DEFAULT)):
        return  # nothing to compare: these are the default ones
    unknown = unknown_with(used)
    for kind, reports in kills.reports(variant).items():
        told, expected = (
            [comparable(report) for report in sorted(each, key=lambda report: bool(report["shared_memory"]))]
            for each in (reports, default_reports[kind])
        )
        for mine, default in zip(told, expected, strict=len(told) == len(expected)):
            assert mine.pop("source") == source_with(used)
            assert {key: mine[key] for key in unknown} == {key: UNKNOWN.get(key) for key in unknown}
            neither = unknown | unknown_with(used_by(hooks_of(DEFAULT))) | {"source"}
            assert {key: mine[key] for key in set(mine) - neither} == {
                key: default[key] for key in set(default) - neither
            }
        outcome = "already_exiting" if kind == an_exiting_one.__name__ else "killed"
        assert_knows(told, frozenset({"outcome", "order", "gfp_mask"}) - unknown, outcome)


def assert_knows(told: list[dict[str, Any]], fields: frozenset[str], outcome: str) -> None:
    """What can be known is, and has the value of an ordinary allocation that ran into a limit."""
    for report in told:
        assert all(report[field] is not None for field in fields)
        assert report["outcome"] == outcome or "outcome" not in fields
        assert "order" not in fields or report["order"] == 0
        assert "gfp_mask" not in fields or report["gfp_mask"] > 0


def assert_is_refused(variant: Variant, hooks: dict[str, dict[str, Any]]) -> None:
    """A hook that this kernel does not have says why; without any for the victim nothing runs, and that says why."""
    default = hooks_of(DEFAULT)
    assert variant.hook
    assert not default[variant.hook]["used"]
    assert hooks[variant.hook]["reason"]
    if used_by(hooks):
        return
    result = run_oomtracer("run", *variant.flags, prefix=TRACEFS)
    assert result.returncode == 3
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith("error: no hook for the victim group: ")
    assert error.count("switched off by --disable-hook") == len(variant.disabled & GROUP_OF_VICTIM)
    assert hint.startswith("hint: ")


def test_with_every_victim_hook_switched_off_nothing_runs() -> None:
    """Exit 3, and each hook's reason is the switch or what the kernel lacks; check tells the same as missing."""
    flags = [f"--disable-hook={','.join(sorted(GROUP_OF_VICTIM))}"]
    result = run_oomtracer("run", *flags)
    assert result.returncode == 3
    error, hint = result.stderr.splitlines()
    assert error.count("switched off by --disable-hook") == len(GROUP_OF_VICTIM)
    assert hint.startswith("hint: ")
    check = run_oomtracer("check", *flags)
    assert check.returncode == 3
    [row] = [line for line in check.stdout.splitlines() if line.startswith("hook: victim")]
    assert " missing " in row

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from oomtracer import check
from oomtracer.check import CheckResult, Row, Status
from oomtracer.errors import UnsupportedError
from oomtracer.kernel.privileges import Capability
from oomtracer.tracer import HOOKS, SWITCHED_OFF, Candidate, GroupChoice

BOTH = frozenset({Capability.BPF, Capability.PERFMON})
ROWS = (
    Row("kernel", Status.OK, "Linux 6.18", "not shown"),
    Row("hook: truth", Status.REDUCED, "none", "use another kernel"),
    Row("ring", Status.OK, "1024 KiB"),
)


def test_the_table_shows_a_hint_below_each_row_that_is_not_ok():
    """Subjects and states are aligned; hints stand below what they are about; the verdict ends it."""
    assert check.as_text(CheckResult(ROWS)).splitlines() == [
        "kernel       ok       Linux 6.18",
        "hook: truth  reduced  none",
        "                      hint: use another kernel",
        "ring         ok       1024 KiB",
        "",
        "OOM kills can be traced here",
    ]


def test_one_missing_row_means_that_nothing_can_be_traced():
    """Reduced rows let it run; a missing one does not."""
    assert CheckResult(ROWS).can_trace
    missing = CheckResult((*ROWS, Row("BTF", Status.MISSING, "none", "use another kernel")))
    assert not missing.can_trace
    assert check.as_text(missing).endswith("\nOOM kills cannot be traced here\n")


def test_the_json_is_one_line_with_the_same_rows():
    """Machines read the verdict and every row with its hint."""
    text = check.as_json(CheckResult(ROWS))
    assert text.count("\n") == 1
    told = json.loads(text)
    assert told["can_trace"] is True
    assert told["checks"][1] == {
        "subject": "hook: truth",
        "status": "reduced",
        "found": "none",
        "hint": "use another kernel",
    }


@pytest.mark.parametrize(
    ("have", "status"),
    [(BOTH, Status.OK), (frozenset({Capability.BPF}), Status.MISSING), (frozenset(), Status.MISSING)],
)
def test_capabilities_are_judged_by_what_loading_needs(monkeypatch, have, status):
    """CAP_BPF and CAP_PERFMON together are enough; less is missing, with a hint."""
    monkeypatch.setattr(check, "effective_capabilities", lambda: have)
    row = check._capabilities()
    assert row.status is status
    assert bool(row.hint) == (status is Status.MISSING)
    assert ("no CAP_" in row.found) == (status is Status.MISSING)


@pytest.mark.parametrize(
    ("mode", "status"),
    [(None, Status.OK), ("none", Status.OK), ("integrity", Status.OK), ("confidentiality", Status.REDUCED)],
)
def test_only_confidentiality_lockdown_is_a_matter(monkeypatch, mode, status):
    """The other modes leave tracing alone."""
    monkeypatch.setattr(check.facts, "lockdown", lambda: mode)
    assert check._lockdown().status is status


def test_a_kernel_without_btf_is_one_row_with_the_reason(monkeypatch):
    """Without type information no hook is judged: the row says what is missing and what to do."""

    def refuse() -> None:
        raise UnsupportedError("this kernel has no BTF", hint="use another")

    monkeypatch.setattr(check.Btf, "of_kernel", refuse)
    assert list(check._btf_and_hooks(check._choices_by_btf(frozenset()), loaded=False)) == [
        Row("BTF", Status.MISSING, "this kernel has no BTF", "use another")
    ]


def test_a_load_that_fails_is_a_row_and_not_an_error(monkeypatch):
    """Checking never raises: what loading said becomes the row, and no hook is told as used."""

    class Refused:
        choices = unpinned = ()

        def __init__(self, **_: object) -> None:
            pass

        def __enter__(self) -> None:
            raise UnsupportedError("cannot load", hint="do this")

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(check, "Tracer", Refused)
    result = check.check(ring_size_bytes=1 << 20)
    assert Row("load", Status.MISSING, "cannot load", "do this") in result.rows
    assert result.hooks
    assert not [hook for hook in result.hooks if hook.used]


def group(*reasons: str, required: bool = False) -> GroupChoice:
    """Build a group whose hooks cannot be used for these reasons; an empty one can."""
    hooks = [replace(HOOKS[0], name=str(i), adds="adds", required=required) for i in range(len(reasons))]
    return GroupChoice("g", tuple(Candidate(*pair) for pair in zip(hooks, reasons, strict=True)))


@pytest.mark.parametrize(
    ("choice", "status", "found"),
    [
        (group("", ""), Status.OK, "0: adds"),
        (group("refused", ""), Status.OK, "1: adds (0: refused)"),
        (group("", "folded"), Status.OK, "0: adds (1: folded)"),
        (group("refused", "folded"), Status.REDUCED, "0: refused; 1: folded"),
        (group("refused", required=True), Status.MISSING, "0: refused"),
    ],
)
def test_a_group_is_told_with_the_hook_in_use_and_why_not_the_others(choice, status, found):
    """A row for each group; without a hook it is missing where one is needed, else reduced, with a hint."""
    row = check._group(choice, loaded=True)
    assert (row.subject, row.status, row.found) == ("hook: g", status, found)
    assert bool(row.hint) == (status is not Status.OK)


def test_a_hook_that_nothing_was_loaded_for_is_not_said_to_work():
    """Its kernel has it; whether it lets us is known once it is tried."""
    row = check._group(group(""), loaded=False)
    assert (row.status, row.found) == (Status.OK, "0, not tried: adds")


def test_whoever_switched_off_what_is_needed_is_told_so():
    """Another kernel would not help."""
    assert (
        check._group(group(SWITCHED_OFF, "folded", required=True), loaded=True).hint
        == "leave out --disable-hook"
    )


def test_every_hook_is_told_to_machines():
    """The JSON lists each hook with its group, whether it is in use and why it cannot be."""
    hooks = check._hooks((group("refused", "", ""),), loaded=True)
    told = json.loads(check.as_json(CheckResult(ROWS, hooks)))["hooks"]
    assert told == [
        {"name": "0", "group": "g", "used": False, "reason": "refused"},
        {"name": "1", "group": "g", "used": True, "reason": ""},
        {"name": "2", "group": "g", "used": False, "reason": ""},
    ]


@pytest.mark.parametrize(("kills", "status"), [(None, Status.REDUCED), (0, Status.OK)])
def test_the_kernels_count_may_be_missing(monkeypatch, kills, status):
    """An old kernel without the counter still traces; 0 is a count."""
    monkeypatch.setattr(check.facts, "oom_kills_since_boot", lambda: kills)
    assert check._audit().status is status


def test_the_ring_is_told_in_kills():
    """How many records fit is what an operator needs to know of a size."""
    assert check._ring(1 << 20).startswith("1024 KiB: holds ")
    assert int(check._ring(1 << 21).split()[3]) >= 2 * int(check._ring(1 << 20).split()[3])

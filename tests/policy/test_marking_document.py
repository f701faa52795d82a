"""docs/MARKING.md against the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oomtracer.config import Marking, MarkOn, parse_duration, parse_rate
from oomtracer.policy import PREFER_NO_EVICTION, Reason
from oomtracer.sinks.mark import all_outcomes

from .scenes import MARKING_REASONS

TEXT = (Path(__file__).parents[2] / "docs/MARKING.md").read_text()


def table(header: str) -> list[list[str]]:
    """The rows of the table whose first line begins with ``header``, without backticks around a cell."""
    body = TEXT.partition(f"\n| {header} |")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in body[2:]]


def test_every_reason_is_told_in_the_order_of_the_questions():
    """The table has each reason once, in order, with what it means and what to do."""
    rows = table("reason")
    assert [row[0] for row in rows] == [reason.value for reason in Reason]
    assert all(len(row) == 3 and all(row) for row in rows)


def test_reasons_to_mark_are_told_as_such():
    """What marks says so, and nothing else does; the text tells how many they are."""
    marked = [row[0] for row in table("reason") if row[1].startswith("marked")]
    assert marked == [reason.value for reason in MARKING_REASONS]
    assert "The last four are reasons to\nmark." in TEXT


def test_what_came_of_marks_is_told():
    """The second table has every stage and reason of the metric that the first one has not."""
    reasons = {reason.value for reason in Reason}
    told = [(row[0], row[1]) for row in table("stage")]
    assert len(told) == len(set(told))
    assert set(told) == {(stage, reason) for stage, reason in all_outcomes() if reason not in reasons}
    skipped = {reason for stage, reason in all_outcomes() if stage == "skipped"}
    assert reasons - skipped == {reason.value for reason in MARKING_REASONS}


def test_mark_on_is_told_from_the_narrowest():
    """Each value of --mark-on has its row, in the order in which they include each other."""
    assert [row[0] for row in table("`--mark-on`")] == [value.value for value in MarkOn]


def test_defaults_are_those_of_the_program():
    """What the table of flags says of defaults is what the program has."""
    flags = {row[0]: row[1] for row in table("flag")}
    assert {flag: value for flag, value in flags.items() if value in ("empty", "off")} == {
        "--victim-annotation": "empty",
        "--victim-label": "empty",
        "--mark-jobs": "off",
        "--require-admission-policy": "off",
    }
    told = Marking(
        mark_on=MarkOn(flags["--mark-on"]),
        protected_namespaces=frozenset({flags["--protect-namespace"]}),
        opt_out_annotation=flags["--opt-out-annotation"],
        max_age_s=parse_duration(flags["--mark-max-age"], flag=""),
        min_pod_age_s=parse_duration(flags["--mark-min-pod-age"], flag=""),
        budget=parse_rate(flags["--mark-budget"], flag=""),
        cooldown_s=parse_duration(flags["--mark-cooldown"], flag=""),
    )
    assert told == Marking()
    assert told.is_dry_run
    assert not told.mark_jobs
    assert not told.require_admission_policy


@pytest.mark.parametrize("name", [PREFER_NO_EVICTION, "2,000,000,000", "oomtracer/fence-probe"])
def test_names_that_the_rules_know_are_told(name):
    """The fixed names and numbers of the rules are in the document."""
    assert name in TEXT


def test_reasons_in_the_text_exist():
    """A reason that the text mentions in snake_case is one of the tables'."""
    known = {word for pair in all_outcomes() for word in pair} | {reason.value for reason in Reason}
    mentioned = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", TEXT))
    assert {word for word in mentioned if not word.startswith("oom_tracer_")} <= known

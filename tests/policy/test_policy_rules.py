"""Each reason, and their order."""

from __future__ import annotations

import pytest

from oomtracer.config import Marking, MarkOn
from oomtracer.events import LimitOwner, Scope
from oomtracer.policy import PREFER_NO_EVICTION, Decision, Reason, annotation_keys, label_keys
from oomtracer.policy import candidates as candidate_rules
from oomtracer.policy import kills as kill_rules

from .scenes import (
    LABEL,
    LEVELS,
    MARK,
    MARKING,
    MARKING_REASONS,
    NODE_KILL,
    RATES,
    SPOILERS,
    Scene,
    limit_at,
)


def test_a_node_out_of_memory_marks_its_victim():
    """A kill of the whole node marks the pod, whatever --mark-on says."""
    for mark_on in MarkOn:
        assert Scene().with_marking(mark_on=mark_on).decide() == NODE_KILL


def test_a_dry_run_decides_the_same():
    """Without annotation and label the decision is what it would be with them."""
    dry = Marking()
    assert dry.is_dry_run
    assert Scene(marking=dry).decide() == NODE_KILL


@pytest.mark.parametrize("excluded", SPOILERS)
def test_each_exclusion_alone_is_told(excluded):
    """One thing that is wrong keeps the pod from being marked and gives its reason."""
    assert SPOILERS[excluded](Scene()).decide() == Decision(mark=False, reason=excluded)


def test_every_reason_is_tried():
    """What a test brings about, what rates refuse and what marks are all the reasons there are."""
    assert [*SPOILERS, *RATES, *MARKING_REASONS] == list(Reason)


def test_rules_are_asked_in_the_order_of_the_reasons():
    """The order of the reasons, which the documents tell, is the order in which they are found."""
    order = list(Reason)
    asked = [each for each, _ in (*kill_rules.RULES, *candidate_rules.RULES)]
    assert asked == sorted(asked, key=order.index)


def test_the_keys_that_matter_are_known():
    """A pod's record keeps the marks, and both opt-outs even in a dry run."""
    assert annotation_keys(MARKING) == {MARK.key, "oomtracer/ignore", PREFER_NO_EVICTION}
    assert label_keys(MARKING) == {LABEL.key}
    assert annotation_keys(Marking()) == {"oomtracer/ignore", PREFER_NO_EVICTION}
    assert label_keys(Marking()) == frozenset()


def test_levels_are_those_of_a_real_pod():
    """The path that these tests start from is told as container, pod, class and kubepods."""
    assert [limit_at(each.cgroup).owner for each in LEVELS] == [
        LimitOwner.CONTAINER,
        LimitOwner.POD,
        LimitOwner.QOS,
        LimitOwner.KUBEPODS,
    ]
    assert Scene().report.scope is Scope.GLOBAL

from __future__ import annotations

import pytest

from oomtracer.events import Scope, Workload, WorkloadKind
from oomtracer.policy import Decision, Reason
from oomtracer.sinks.stages import IDENTIFIED, NO_POD_MATCH, NOT_ACTED_ON, Stages

from .builders import POD_UID, report

KNOWN = Workload(kind=WorkloadKind.POD, namespace="shop", pod="web", pod_uid=POD_UID)
UNKNOWN = Workload(kind=WorkloadKind.POD, pod_uid=POD_UID, resolved=False)
UNIT = Workload(kind=WorkloadKind.UNIT, unit="a.service")


@pytest.mark.parametrize(
    ("workload", "scope", "reason", "stage"),
    [
        (KNOWN, Scope.GLOBAL, Reason.NODE_OUT_OF_MEMORY, IDENTIFIED),
        (KNOWN, Scope.GLOBAL, Reason.BUDGET_SPENT, IDENTIFIED),
        (KNOWN, Scope.MEMCG, Reason.LIMIT_ABOVE_POD, IDENTIFIED),
        (KNOWN, Scope.MEMCG, Reason.CONTAINER_LIMIT_HIT, NOT_ACTED_ON),
        (KNOWN, Scope.CPUSET, Reason.CPUSET, NOT_ACTED_ON),
        (UNKNOWN, Scope.GLOBAL, Reason.NO_POD_MATCH, NO_POD_MATCH),
        (UNKNOWN, Scope.MEMCG, Reason.CONTAINER_LIMIT_HIT, NOT_ACTED_ON),
        (UNKNOWN, Scope.GLOBAL, None, NO_POD_MATCH),
        (UNIT, Scope.GLOBAL, Reason.NOT_IN_POD, NO_POD_MATCH),
        (UNIT, Scope.MEMCG, Reason.NOT_IN_POD, NOT_ACTED_ON),
    ],
)
def test_each_kill_is_at_one_stage(workload, scope, reason, stage):
    """As in the original: not acted on, or without a pod, or identified; one of them."""
    decision = Decision(mark=False, reason=reason) if reason else None
    stages = Stages(lambda _: decision)
    stages.emit(report(workload=workload, scope=scope))
    assert {key: count for key, count in stages.counts.items() if count} == {stage: 1}


def test_all_stages_are_there_at_zero():
    """So that the first kill is an increase."""
    assert Stages(lambda _: None).counts == {IDENTIFIED: 0, NO_POD_MATCH: 0, NOT_ACTED_ON: 0}


def test_a_self_test_is_at_no_stage():
    """It was made on purpose."""
    stages = Stages(lambda _: None)
    stages.emit(report(selftest=True))
    assert sum(stages.counts.values()) == 0

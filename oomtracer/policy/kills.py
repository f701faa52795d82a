"""Would moving the pod have helped against this kill? What the kill alone says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oomtracer.config import Marking, MarkOn
from oomtracer.events import OomReport, Outcome, Scope, WorkloadKind
from oomtracer.policy.limits import OwnerOf, includes, least_by_cgroup, possible
from oomtracer.policy.reason import Decision, Reason


def _is_unclear(report: OomReport) -> bool:
    # Only a kill of the whole node can have been asked for by sysrq.
    return report.scope is Scope.UNKNOWN or (report.scope is Scope.GLOBAL and report.sysrq is None)


RULES: Final[tuple[tuple[Reason, Callable[[OomReport], bool]], ...]] = (
    (Reason.SELFTEST, lambda report: report.selftest),
    (Reason.NOT_IN_POD, lambda report: report.workload.kind is not WorkloadKind.POD),
    (Reason.NOT_KILLED, lambda report: report.outcome is Outcome.ALREADY_EXITING),
    (Reason.OUTCOME_UNKNOWN, lambda report: report.outcome is Outcome.UNKNOWN),
    (Reason.SYSRQ, lambda report: report.sysrq is True),
    (Reason.SCOPE_UNKNOWN, _is_unclear),
    (Reason.CPUSET, lambda report: report.scope is Scope.CPUSET),
    (Reason.MEMPOLICY, lambda report: report.scope is Scope.MEMPOLICY),
)
"""Facts that no flag changes, the most telling first."""

_MARKED: Final = {
    MarkOn.NODE: Reason.LIMIT_ABOVE_POD,
    MarkOn.POD: Reason.POD_LIMIT,
    MarkOn.ANY: Reason.CONTAINER_LIMIT,
}
# There is no --mark-on that leaves a pod alone whose limit above was hit.
_LEFT_ALONE: Final = {MarkOn.POD: Reason.POD_LIMIT_HIT, MarkOn.ANY: Reason.CONTAINER_LIMIT_HIT}


def decide_on_kill(report: OomReport, marking: Marking, *, owner_of: OwnerOf, age_s: float) -> Decision:
    """Whether a pod would be marked for this kill, which is ``age_s`` seconds ago, were any pod allowed."""
    for reason, applies in RULES:
        if applies(report):
            return Decision(mark=False, reason=reason)
    decision = (
        Decision(mark=True, reason=Reason.NODE_OUT_OF_MEMORY)
        if report.scope is Scope.GLOBAL
        else _decide_on_limit(report, marking.mark_on, owner_of)
    )
    # Asked this way round, an age that is no number is too old.
    if decision.mark and not age_s <= marking.max_age_s:
        return Decision(mark=False, reason=Reason.KILL_TOO_OLD)
    return decision


def _decide_on_limit(report: OomReport, mark_on: MarkOn, owner_of: OwnerOf) -> Decision:
    """Where several limits may have been hit, each of them must allow it; the report's own one is told."""
    least = least_by_cgroup(report, owner_of)
    limit = report.limit
    if limit is None or not least:
        return Decision(mark=False, reason=Reason.LIMIT_UNKNOWN)
    if limit.cgroup not in least:
        return Decision(mark=False, reason=Reason.LIMIT_ELSEWHERE)
    allowed = [includes(mark_on, each) for each in possible(report, limit, least)]
    if all(allowed):
        return Decision(mark=True, reason=_MARKED[least[limit.cgroup]])
    if any(allowed):
        return Decision(mark=False, reason=Reason.LIMIT_UNCERTAIN)
    return Decision(mark=False, reason=_LEFT_ALONE[least[limit.cgroup]])

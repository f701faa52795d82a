"""How far each kill came, for ``events_total``: the stages of the original tool, which users have dashboards for.

There, each kill is exactly one of: not a kind that it acts on, of no known pod, identified.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from oomtracer.events import OomReport, Scope, WorkloadKind
from oomtracer.policy import Decision, Reason

IDENTIFIED: Final = ("identified", "pod_identified")
NO_POD_MATCH: Final = ("skipped", "no_pod_match")
NOT_ACTED_ON: Final = ("skipped", "non_or_ignored_global_oom")

# Whose limit was hit, or which memory ran out, is not what --mark-on acts on.
_NOT_HELPED_BY_MOVING: Final = frozenset(
    {
        *(Reason.CONTAINER_LIMIT_HIT, Reason.POD_LIMIT_HIT, Reason.LIMIT_ELSEWHERE, Reason.LIMIT_UNCERTAIN),
        *(Reason.LIMIT_UNKNOWN, Reason.SCOPE_UNKNOWN, Reason.CPUSET, Reason.MEMPOLICY, Reason.SYSRQ),
    }
)


class Stages:
    """A sink that counts each report once, after it has been decided on."""

    def __init__(self, decision_of: Callable[[OomReport], Decision | None]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter(
            dict.fromkeys((IDENTIFIED, NO_POD_MATCH, NOT_ACTED_ON), 0)
        )
        self._decision_of = decision_of

    def emit(self, report: OomReport) -> None:
        """Count one report; self-tests are nobody's."""
        if not report.selftest:
            self.counts[self._stage(report)] += 1

    def _stage(self, report: OomReport) -> tuple[str, str]:
        decision = self._decision_of(report)
        if decision and decision.reason in _NOT_HELPED_BY_MOVING:
            return NOT_ACTED_ON
        if report.workload.kind is WorkloadKind.POD:
            return IDENTIFIED if report.workload.resolved else NO_POD_MATCH
        return NO_POD_MATCH if report.scope is Scope.GLOBAL else NOT_ACTED_ON

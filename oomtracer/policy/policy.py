"""The three questions in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oomtracer.policy.candidates import Candidate, exclusion
from oomtracer.policy.kills import decide_on_kill
from oomtracer.policy.ledger import Ledger, Mark
from oomtracer.policy.reason import Decision, Reason

if TYPE_CHECKING:
    from oomtracer.config import Marking
    from oomtracer.events import OomReport
    from oomtracer.pods import Pod
    from oomtracer.policy.limits import OwnerOf


class Policy:
    """Decides, kill by kill, which pods are marked, and remembers what was.

    An incident is open until a mark is decided for it: where the first victim's pod is excluded, that of another
    victim of the same run of the OOM killer may take its place, since moving either relieves the node. In a dry
    run the decisions are the same.
    """

    def __init__(self, marking: Marking, *, owner_of: OwnerOf) -> None:
        """``owner_of`` tells what a cgroup stands for by its path: ``cgroups.limit_owner``."""
        self._marking = marking
        self._owner_of = owner_of
        self._ledger = Ledger(marking)

    def decide(
        self,
        report: OomReport,
        pod: Pod | None,
        *,
        now_s: float,
        monotonic_s: float,
        age_s: float,
        is_spent: bool = False,
    ) -> Decision:
        """Decide on the kill of a process of ``pod`` (None: not found), ``age_s`` seconds ago.

        ``now_s`` is Unix time and measures the pod's age alone. ``monotonic_s`` is of any clock that is never set
        and measures budget and cool-down. A decision to mark counts at once: for a mark that is not made after
        all, call ``give_back``. ``is_spent``: it has been counted before, see ``remember``. Never raises.
        """
        decision = decide_on_kill(report, self._marking, owner_of=self._owner_of, age_s=age_s)
        if not decision.mark:
            return decision
        if pod is None:
            return Decision(mark=False, reason=Reason.NO_POD_MATCH)
        refusal = self._exclusion(report, pod, now_s - max(age_s, 0.0))
        if refusal is None and not is_spent:
            refusal = self._enter(report.incident, pod, monotonic_s)
        return Decision(mark=False, reason=refusal) if refusal else decision

    def remember(self, mark: Mark) -> None:
        """Count a mark of an earlier process, on the clock of ``monotonic_s``; the oldest is to come first."""
        self._ledger.enter(mark)

    def give_back(self, incident: str) -> None:
        """Take back the mark that was decided for an incident and never made.

        Budget and cool-down are as if it had not been decided; incident and pod may be decided again. Not for a
        mark that was perhaps made. Nothing, where none was decided.
        """
        self._ledger.give_back(incident)

    def _exclusion(self, report: OomReport, pod: Pod, killed_s: float) -> Reason | None:
        return exclusion(Candidate(pod=pod, report=report, marking=self._marking, killed_s=killed_s))

    def _enter(self, incident: str, pod: Pod, at_s: float) -> Reason | None:
        owner = pod.owner or pod.controller
        mark = Mark(incident=incident, pod_uid=pod.uid, namespace=pod.namespace, owner=owner, at_s=at_s)
        refusal = self._ledger.refusal(mark)
        if refusal is None:
            self._ledger.enter(mark)
        return refusal

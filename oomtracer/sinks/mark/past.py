"""Marks of earlier processes: which of them were sent, and what was decided then."""

from __future__ import annotations

from contextlib import suppress

from oomtracer.deliveries import RememberedMark
from oomtracer.events import OomReport
from oomtracer.pods import Pod
from oomtracer.policy import Decision, MarkMade, Reason
from oomtracer.sinks.mark.counts import WANTED
from oomtracer.sinks.mark.delivery import Delivery, Mark


class Past:
    """Marks that an earlier process has sent without seeing them made.

    Such a mark has spent its budget: it is not decided anew, but made sure of. What its pod carries is ours.
    """

    def __init__(self, delivery: Delivery | None) -> None:
        self._delivery = delivery
        self._sent: dict[str, RememberedMark] = {}

    def add(self, mark: RememberedMark) -> None:
        """Take one over."""
        self._sent[mark.incident] = mark

    def is_sent(self, report: OomReport, pod: Pod | None) -> bool:
        """Whether the mark of this pod for this kill was sent."""
        return self._of(report, pod) is not None

    def made(self, report: OomReport, pod: Pod | None) -> Decision | None:
        """What was decided then, where the pod shows that it was carried out."""
        sent = self._of(report, pod)
        if not (sent and pod and self._delivery and self._delivery.carries_ours(pod)):
            return None
        return decision_from(sent.reason)

    def _of(self, report: OomReport, pod: Pod | None) -> RememberedMark | None:
        sent = self._sent.get(report.incident)
        return sent if sent and pod and sent.pod_uid == pod.uid else None


def as_made(mark: RememberedMark, *, now_s: float) -> MarkMade:
    """As policy counts it, on the clock of ``now_s``."""
    return MarkMade(
        incident=mark.incident,
        pod_uid=mark.pod_uid,
        namespace=mark.namespace,
        owner=mark.owner,
        at_s=now_s - mark.ago_s,
    )


def to_remember(mark: Mark, *, now_s: float) -> RememberedMark:
    """What the next process has to know of a mark that is about to be sent."""
    return RememberedMark(
        incident=mark.report.incident,
        pod_uid=mark.pod.uid,
        namespace=mark.pod.namespace,
        owner=mark.pod.owner or mark.pod.controller,
        reason=mark.decision.reason,
        ago_s=max(now_s - mark.decided_s, 0.0),
    )


def told_as(decision: Decision, outcome: str) -> str:
    """A decision to mark and what came of it, in one word for the outbox: ``node_out_of_memory:expired``."""
    return f"{decision.reason}:{outcome}"


def decision_from(text: str) -> Decision | None:
    """The decision that the outbox was told; None where this program knows none of that name."""
    with suppress(ValueError):
        reason = Reason(text.partition(":")[0])
        return Decision(mark=reason in WANTED, reason=reason)
    return None

"""What came of decisions and marks, in numbers: plain counters, read at scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from oomtracer.config import Marking
from oomtracer.policy import Reason

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Kill to mark: milliseconds where all is well, minutes where the API server was away."""


class Stage(StrEnum):
    """The label ``stage`` of ``marked_victims_total``."""

    MARKED = "marked"
    SKIPPED = "skipped"
    DRY_RUN = "dry_run"
    ERROR = "error"


ANNOTATION_APPLIED = "annotation_applied"
LABEL_APPLIED = "label_applied"
WOULD_MARK = "would_mark"


class Late(StrEnum):
    """Reasons for leaving a pod alone that show only while its mark is delivered; policy has the others."""

    POD_GONE = "pod_gone"
    POD_REPLACED = "pod_replaced"
    NODE_RESTARTED = "node_restarted"


class Failure(StrEnum):
    """Why a mark that policy wanted was not made."""

    FORBIDDEN = "forbidden"
    DENIED = "denied"
    INVALID = "invalid"
    EXPIRED = "expired"
    ADMISSION_POLICY_MISSING = "admission_policy_missing"
    OVERFLOW = "overflow"
    NOT_DELIVERED = "not_delivered"
    INTERNAL = "internal"


WANTED = frozenset(
    {Reason.NODE_OUT_OF_MEMORY, Reason.LIMIT_ABOVE_POD, Reason.POD_LIMIT, Reason.CONTAINER_LIMIT}
)
"""What policy says of the pods that it wants marked: told as one of the other stages."""


def applied_reason(marking: Marking) -> str:
    """How a mark that was made is told: by its label only where there is no annotation."""
    return ANNOTATION_APPLIED if marking.annotation else LABEL_APPLIED


def all_outcomes() -> tuple[tuple[str, str], ...]:
    """Every stage and reason there can be, for series that begin at 0."""
    skipped = [each.value for each in (*Reason, *Late) if each not in WANTED]
    return (
        (Stage.MARKED.value, ANNOTATION_APPLIED),
        (Stage.MARKED.value, LABEL_APPLIED),
        (Stage.DRY_RUN.value, WOULD_MARK),
        *[(Stage.SKIPPED.value, reason) for reason in skipped],
        *[(Stage.ERROR.value, failure.value) for failure in Failure],
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """What finally came of one mark; ``message`` is the server's, where it has one.

    ``in_doubt``: it was not seen to be made, and may have been.
    """

    stage: Stage
    reason: str
    message: str = ""
    in_doubt: bool = False


class MarkCounts:
    """``marked`` by stage and reason, ``failed`` marks, and how long after the kill marks were made.

    ``latencies`` has one number for each of LATENCY_BUCKETS_S and one for what is above; not cumulative.
    """

    def __init__(self) -> None:
        self.marked: Counter[tuple[str, str]] = Counter(dict.fromkeys(all_outcomes(), 0))
        self.failed = 0
        self.latencies = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.latency_sum_s = 0.0

    def count(self, stage: Stage, reason: str) -> None:
        """Count one decision, or one mark that has come to its end."""
        self.marked[stage.value, reason] += 1
        self.failed += stage is Stage.ERROR

    def observe(self, latency_s: float) -> None:
        """Count the seconds from a kill to its mark."""
        latency_s = max(latency_s, 0.0)
        self.latencies[bisect_left(LATENCY_BUCKETS_S, latency_s)] += 1
        self.latency_sum_s += latency_s

"""May this pod be moved at all? What it is, where it stands in its life, and what its annotations ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from oomtracer.config import Marking
from oomtracer.events import OomReport
from oomtracer.pods import Pod
from oomtracer.policy.reason import Reason

PREFER_NO_EVICTION: Final = "descheduler.alpha.kubernetes.io/prefer-no-eviction"
"""The descheduler's own wish not to be moved; as there, its presence counts, whatever the value."""

# Where system-cluster-critical begins; users' classes end at half of it.
_CRITICAL_PRIORITY: Final = 2_000_000_000
_NOT_OPTED_OUT: Final = "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pod of the API server, with the kill that would mark it."""

    pod: Pod
    report: OomReport
    marking: Marking
    killed_s: float
    """Unix time of the kill."""


def annotation_keys(marking: Marking) -> frozenset[str]:
    """The annotations that a pod's record must keep for a decision."""
    mark = {marking.annotation.key} if marking.annotation else set()
    return frozenset({marking.opt_out_annotation, PREFER_NO_EVICTION} | mark)


def label_keys(marking: Marking) -> frozenset[str]:
    """The labels that a pod's record must keep for a decision."""
    return frozenset({marking.label.key} if marking.label else ())


def _is_another(candidate: Candidate) -> bool:
    # What is killed in one pod must never mark its namesake or successor.
    uid = candidate.report.workload.pod_uid
    return uid is not None and uid not in (candidate.pod.uid, candidate.pod.config_hash)


def _is_static(candidate: Candidate) -> bool:
    pod = candidate.pod
    return pod.is_mirror or candidate.report.workload.static is True or _controller(pod) == "Node"


def _controller(pod: Pod) -> str | None:
    return pod.controller.kind if pod.controller else None


def _has_opted_out(candidate: Candidate) -> bool:
    annotations = candidate.pod.annotations
    wish = annotations.get(candidate.marking.opt_out_annotation, _NOT_OPTED_OUT)
    return wish != _NOT_OPTED_OUT or PREFER_NO_EVICTION in annotations


def _is_too_young(candidate: Candidate) -> bool:
    """Whether it was too young when the kill came: waiting for the API server makes no pod older."""
    pod, least_s = candidate.pod, candidate.marking.min_pod_age_s
    if not pod.created_s:
        return least_s > 0
    # The API server's clock may be ahead of this node's. Asked this way round, no number is too young.
    return not max(candidate.killed_s - pod.created_s, 0.0) >= least_s


def _has_annotation(candidate: Candidate) -> bool:
    mark = candidate.marking.annotation
    return mark is not None and mark.key in candidate.pod.annotations


def _has_label(candidate: Candidate) -> bool:
    mark = candidate.marking.label
    return mark is not None and mark.key in candidate.pod.labels


RULES: Final[tuple[tuple[Reason, Callable[[Candidate], bool]], ...]] = (
    (Reason.NO_POD_MATCH, _is_another),
    (Reason.STATIC_POD, _is_static),
    (Reason.DAEMONSET_POD, lambda candidate: _controller(candidate.pod) == "DaemonSet"),
    (
        Reason.JOB_POD,
        lambda candidate: _controller(candidate.pod) == "Job" and not candidate.marking.mark_jobs,
    ),
    (Reason.BARE_POD, lambda candidate: candidate.pod.controller is None),
    (
        Reason.PROTECTED_NAMESPACE,
        lambda candidate: candidate.pod.namespace in candidate.marking.protected_namespaces,
    ),
    (Reason.CRITICAL_PRIORITY, lambda candidate: candidate.pod.priority >= _CRITICAL_PRIORITY),
    (Reason.OPTED_OUT, _has_opted_out),
    (Reason.FINISHED, lambda candidate: candidate.pod.phase in ("Succeeded", "Failed")),
    (Reason.TERMINATING, lambda candidate: candidate.pod.is_terminating),
    (Reason.TOO_YOUNG, _is_too_young),
    (Reason.ANNOTATION_EXISTS, _has_annotation),
    (Reason.LABEL_EXISTS, _has_label),
)
"""What the pod is comes before where it stands in its life, and that before what it carries."""


def exclusion(candidate: Candidate) -> Reason | None:
    """Why this pod is left alone whatever was marked before; None: it may be marked."""
    return next((reason for reason, applies in RULES if applies(candidate)), None)

"""Whose limit was hit and what was decided, in words for the people whose pod it is."""

from __future__ import annotations

from collections.abc import Sequence

from oomtracer.cgroups import limit_owner
from oomtracer.config import Marking
from oomtracer.events import CgroupLevel, Limit, LimitOwner, OomReport, Scope
from oomtracer.policy import Decision, Reason
from oomtracer.printable import size

_SCOPES = {
    Scope.GLOBAL: "the node ran out of memory, whatever the pod's own limits",
    Scope.MEMCG: "a memory limit was reached, which one is not known",
    Scope.CPUSET: "the memory nodes that its cpuset allows are full",
    Scope.MEMPOLICY: "the memory nodes that its memory policy allows are full",
    Scope.UNKNOWN: "which memory ran out is not known",
}
_OWNERS = {
    LimitOwner.CONTAINER: "the container's memory limit",
    LimitOwner.POD: "the pod's memory limit",
    LimitOwner.QOS: "the limit of all pods of its QoS class on the node",
    LimitOwner.KUBEPODS: "the limit of all pods of the node",
}
_ABOVE_POD = "a memory limit above the pod"
_REASONS = {
    Reason.SYSRQ: "an administrator asked for the kill",
    Reason.SCOPE_UNKNOWN: "which memory ran out is not known",
    Reason.CPUSET: "only some of the node's memory ran out",
    Reason.MEMPOLICY: "only some of the node's memory ran out",
    Reason.OUTCOME_UNKNOWN: "whether the process was killed is not certain",
    Reason.LIMIT_UNKNOWN: "which limit was reached is not known",
    Reason.LIMIT_ELSEWHERE: "the limit was reached elsewhere",
    Reason.LIMIT_UNCERTAIN: "it may have been the pod's own limit",
    Reason.CONTAINER_LIMIT_HIT: "another node would not help against its own limit",
    Reason.POD_LIMIT_HIT: "another node would not help against its own limit",
    Reason.KILL_TOO_OLD: "the kill is too long ago",
    Reason.STATIC_POD: "a static pod stays on its node",
    Reason.DAEMONSET_POD: "a DaemonSet's pod stays on its node",
    Reason.JOB_POD: "a Job's pod would lose its work",
    Reason.BARE_POD: "nothing would create the pod anew",
    Reason.PROTECTED_NAMESPACE: "the namespace is protected",
    Reason.CRITICAL_PRIORITY: "the pod's priority is critical",
    Reason.OPTED_OUT: "the pod opted out",
    Reason.FINISHED: "the pod has finished",
    Reason.TERMINATING: "the pod is being deleted",
    Reason.TOO_YOUNG: "the pod was created a short while ago",
    Reason.ANNOTATION_EXISTS: "it carries the mark already",
    Reason.LABEL_EXISTS: "it carries the mark already",
    Reason.INCIDENT_DECIDED: "another pod of this incident was chosen",
    Reason.POD_DECIDED: "it was decided before",
    Reason.OWNER_COOLING_DOWN: "a pod of the same owner was marked lately",
    Reason.BUDGET_SPENT: "enough pods of this node were marked lately",
}


def cause(report: OomReport) -> str:
    """Which memory ran out, seen from the victim's pod."""
    if report.sysrq:
        return "an administrator asked for it (sysrq)"
    if report.limit is None:
        return _SCOPES[report.scope]
    limit = report.limit
    likely = "" if limit.certain else "probably "
    used = f"{size(limit.usage_bytes)} of {size(limit.limit_bytes)} in use"
    return f"{likely}{_whose(limit, report.levels)} was reached ({used})"


def decided(decision: Decision | None, marking: Marking) -> str:
    """What was decided about marking the pod, as a sentence; empty where nothing was."""
    if decision is None:
        return ""
    reason = decision.reason
    if not decision.mark:
        words = _REASONS.get(reason, reason.value.replace("_", " "))
        return f"The pod is not marked for eviction: {words} ({reason})."
    if marking.is_dry_run:
        return f"The pod would be marked for eviction ({reason}), but this is a dry run."
    return f"The pod was chosen for eviction ({reason}); a MarkedForEviction Event follows if it is marked."


def marks(marking: Marking) -> str:
    """``annotation KEY=VALUE and label KEY=VALUE``, as far as they are configured."""
    kinds = {"annotation": marking.annotation, "label": marking.label}
    return " and ".join([f"{kind} {mark.key}={mark.value}" for kind, mark in kinds.items() if mark])


def _whose(limit: Limit, levels: Sequence[CgroupLevel]) -> str:
    if limit.owner is LimitOwner.CONTAINER and _is_above_pod(limit.cgroup, levels):
        return _ABOVE_POD
    return _OWNERS.get(limit.owner, _ABOVE_POD)


def _is_above_pod(cgroup: str, levels: Sequence[CgroupLevel]) -> bool:
    """Whether it holds the pod: where nodes are containers (kind, k3d), so is what a pod's limit is not."""
    return any(
        level.cgroup.startswith(f"{cgroup}/") and limit_owner(level.cgroup) is LimitOwner.POD
        for level in levels
    )

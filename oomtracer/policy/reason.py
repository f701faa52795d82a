"""What was decided, and why: names that users see in the log, in metrics and in Events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a pod is marked or left alone, in the order of the questions; ``docs/MARKING.md`` explains each."""

    # The kill: no pod would be marked for it.
    SELFTEST = "selftest"
    NOT_IN_POD = "not_in_pod"
    NOT_KILLED = "not_killed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    SYSRQ = "sysrq"
    SCOPE_UNKNOWN = "scope_unknown"
    CPUSET = "cpuset"
    MEMPOLICY = "mempolicy"
    LIMIT_UNKNOWN = "limit_unknown"
    LIMIT_ELSEWHERE = "limit_elsewhere"
    LIMIT_UNCERTAIN = "limit_uncertain"
    CONTAINER_LIMIT_HIT = "container_limit_hit"
    POD_LIMIT_HIT = "pod_limit_hit"
    KILL_TOO_OLD = "kill_too_old"

    # The pod: it would not be marked for any kill, as it is now.
    NO_POD_MATCH = "no_pod_match"
    STATIC_POD = "static_pod"
    DAEMONSET_POD = "daemonset_pod"
    JOB_POD = "job_pod"
    BARE_POD = "bare_pod"
    PROTECTED_NAMESPACE = "protected_namespace"
    CRITICAL_PRIORITY = "critical_priority"
    OPTED_OUT = "opted_out"
    FINISHED = "finished"
    TERMINATING = "terminating"
    TOO_YOUNG = "too_young"
    ANNOTATION_EXISTS = "annotation_exists"
    LABEL_EXISTS = "label_exists"

    # The marks made before.
    INCIDENT_DECIDED = "incident_decided"
    POD_DECIDED = "pod_decided"
    OWNER_COOLING_DOWN = "owner_cooling_down"
    BUDGET_SPENT = "budget_spent"

    # Marked.
    NODE_OUT_OF_MEMORY = "node_out_of_memory"
    LIMIT_ABOVE_POD = "limit_above_pod"
    POD_LIMIT = "pod_limit"
    CONTAINER_LIMIT = "container_limit"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to mark the pod, and why or why not."""

    mark: bool
    reason: Reason

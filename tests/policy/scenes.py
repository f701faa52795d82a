"""A kill that marks its pod, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oomtracer.cgroups import limit_owner
from oomtracer.config import KeyValue, Marking, Rate
from oomtracer.events import (
    CgroupLevel,
    Limit,
    OomReport,
    Outcome,
    Owner,
    Scope,
    Workload,
    WorkloadKind,
)
from oomtracer.pods import Pod
from oomtracer.policy import PREFER_NO_EVICTION, Decision, Policy, Reason
from tests.unit.builders import CONTAINER, MIB, POD, POD_UID, QOS, level, limit, report, victim

NOW_S = 1_780_000_000.0
HOUR_S = 3_600.0
KUBEPODS = "/kubepods.slice"
MARK = KeyValue("oom-tracer.alpha.kubernetes.io/evict-me", "yes")
LABEL = KeyValue("oomtracer/victim", "true")
MARKING = Marking(annotation=MARK, label=LABEL)
REPLICA_SET = Owner(kind="ReplicaSet", name="shop-5d9c7b6f4")
DEPLOYMENT = Owner(kind="Deployment", name="shop")
LEVELS = (
    level(CONTAINER, 60 * MIB, 64 * MIB),
    level(POD, 70 * MIB, 128 * MIB),
    level(QOS, 900 * MIB),
    level(KUBEPODS, 4000 * MIB, 4000 * MIB),
)
IN_POD = Workload(kind=WorkloadKind.POD, pod_uid=POD_UID, static=False)


def pod(**changes: Any) -> Pod:
    """Build a pod of a Deployment, an hour old and running, that may be marked."""
    plain = Pod(
        uid=POD_UID,
        namespace="shop",
        name="shop-5d9c7b6f4-x2x9q",
        config_hash=None,
        is_mirror=False,
        created_s=NOW_S - HOUR_S,
        phase="Running",
        is_terminating=False,
        priority=0,
        controller=REPLICA_SET,
        owner=DEPLOYMENT,
        containers=("shop",),
        container_ids={},
        shares_pid_namespace=False,
        annotations={},
        labels={},
    )
    return replace(plain, **changes)


def pod_report(**changes: Any) -> OomReport:
    """Build the report of a kill in that pod, by an out-of-memory of the whole node."""
    plain = report(
        scope=Scope.GLOBAL,
        limit=None,
        victim=victim(cgroup=CONTAINER),
        levels=LEVELS,
        workload=IN_POD,
        trigger_workload=None,
    )
    return replace(plain, **changes)


def limit_at(cgroup: str, *, certain: bool = True) -> Limit:
    """Build the limit of one of the report's levels."""
    return limit(cgroup=cgroup, owner=limit_owner(cgroup), certain=certain)


def memcg_report(cgroup: str, *, certain: bool = True, levels: tuple[CgroupLevel, ...] = LEVELS) -> OomReport:
    """Build the report of a kill at a cgroup's limit, of a process in the first of the levels."""
    return pod_report(
        scope=Scope.MEMCG,
        limit=limit_at(cgroup, certain=certain),
        levels=levels,
        victim=victim(cgroup=levels[0].cgroup),
    )


def policy(**changes: Any) -> Policy:
    """Build a policy that has decided nothing yet, with the real owners of limits."""
    return Policy(replace(MARKING, **changes), owner_of=limit_owner)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a decision is made of; as it is, the pod is marked."""

    report: OomReport = field(default_factory=pod_report)
    pod: Pod | None = field(default_factory=pod)
    marking: Marking = MARKING
    now_s: float = NOW_S
    monotonic_s: float = 5_000.0
    age_s: float = 1.0

    def decide(self, decider: Policy | None = None) -> Decision:
        """Ask a policy, by default one without a past."""
        decider = decider or Policy(self.marking, owner_of=limit_owner)
        times = {"now_s": self.now_s, "monotonic_s": self.monotonic_s, "age_s": self.age_s}
        return decider.decide(self.report, self.pod, **times)

    def with_report(self, **changes: Any) -> Scene:
        """Change the report."""
        return replace(self, report=replace(self.report, **changes))

    def with_pod(self, **changes: Any) -> Scene:
        """Change the pod."""
        return self if self.pod is None else replace(self, pod=replace(self.pod, **changes))

    def with_marking(self, **changes: Any) -> Scene:
        """Change what was asked for."""
        return replace(self, marking=replace(self.marking, **changes))

    def with_annotation(self, key: str, value: str) -> Scene:
        """Add an annotation to the pod."""
        return self if self.pod is None else self.with_pod(annotations={**self.pod.annotations, key: value})


def _at_limit(scene: Scene, cgroup: str, *, certain: bool = True) -> Scene:
    return scene.with_report(scope=Scope.MEMCG, limit=limit_at(cgroup, certain=certain))


SPOILERS: Mapping[Reason, Callable[[Scene], Scene]] = {
    Reason.SELFTEST: lambda scene: scene.with_report(selftest=True),
    Reason.NOT_IN_POD: lambda scene: scene.with_report(workload=Workload(kind=WorkloadKind.UNIT)),
    Reason.NOT_KILLED: lambda scene: scene.with_report(outcome=Outcome.ALREADY_EXITING),
    Reason.OUTCOME_UNKNOWN: lambda scene: scene.with_report(outcome=Outcome.UNKNOWN),
    Reason.SYSRQ: lambda scene: scene.with_report(sysrq=True),
    Reason.SCOPE_UNKNOWN: lambda scene: scene.with_report(scope=Scope.UNKNOWN),
    Reason.CPUSET: lambda scene: scene.with_report(scope=Scope.CPUSET),
    Reason.MEMPOLICY: lambda scene: scene.with_report(scope=Scope.MEMPOLICY),
    Reason.LIMIT_UNKNOWN: lambda scene: scene.with_report(scope=Scope.MEMCG, limit=None),
    Reason.LIMIT_ELSEWHERE: lambda scene: _at_limit(scene, f"{KUBEPODS}/other.slice"),
    Reason.LIMIT_UNCERTAIN: lambda scene: _at_limit(scene, KUBEPODS, certain=False),
    Reason.CONTAINER_LIMIT_HIT: lambda scene: _at_limit(scene, CONTAINER),
    Reason.POD_LIMIT_HIT: lambda scene: _at_limit(scene, POD),
    Reason.KILL_TOO_OLD: lambda scene: replace(scene, age_s=901.0),
    Reason.NO_POD_MATCH: lambda scene: replace(scene, pod=None),
    Reason.STATIC_POD: lambda scene: scene.with_pod(is_mirror=True),
    Reason.DAEMONSET_POD: lambda scene: scene.with_pod(controller=Owner(kind="DaemonSet", name="agent")),
    Reason.JOB_POD: lambda scene: scene.with_pod(controller=Owner(kind="Job", name="night")),
    Reason.BARE_POD: lambda scene: scene.with_pod(controller=None, owner=None),
    Reason.PROTECTED_NAMESPACE: lambda scene: scene.with_pod(namespace="kube-system"),
    Reason.CRITICAL_PRIORITY: lambda scene: scene.with_pod(priority=2_000_000_000),
    Reason.OPTED_OUT: lambda scene: scene.with_annotation(PREFER_NO_EVICTION, "false"),
    Reason.FINISHED: lambda scene: scene.with_pod(phase="Failed"),
    Reason.TERMINATING: lambda scene: scene.with_pod(is_terminating=True),
    Reason.TOO_YOUNG: lambda scene: scene.with_pod(created_s=NOW_S - 600),
    Reason.ANNOTATION_EXISTS: lambda scene: scene.with_annotation(MARK.key, "no"),
    Reason.LABEL_EXISTS: lambda scene: scene.with_pod(labels={LABEL.key: ""}),
}
"""For each exclusion one change that brings it about, whatever else was changed."""

# Only one of each of these can be: an outcome, whose memory, whose pod.
EXCLUSIVE = (
    {Reason.NOT_KILLED, Reason.OUTCOME_UNKNOWN},
    {
        Reason.SCOPE_UNKNOWN,
        Reason.CPUSET,
        Reason.MEMPOLICY,
        Reason.LIMIT_UNKNOWN,
        Reason.LIMIT_ELSEWHERE,
        Reason.LIMIT_UNCERTAIN,
        Reason.CONTAINER_LIMIT_HIT,
        Reason.POD_LIMIT_HIT,
    },
    {Reason.DAEMONSET_POD, Reason.JOB_POD, Reason.BARE_POD},
)
RATES = (
    Reason.INCIDENT_DECIDED,
    Reason.POD_DECIDED,
    Reason.OWNER_COOLING_DOWN,
    Reason.BUDGET_SPENT,
)
MARKING_REASONS = list(Reason)[-4:]
NODE_KILL = Decision(mark=True, reason=Reason.NODE_OUT_OF_MEMORY)
WIDE = Rate(1_000_000, 600.0)


def reason(scene: Scene) -> Reason:
    """Decide without a past, and tell why."""
    decision = scene.decide()
    assert decision.mark == (decision.reason in MARKING_REASONS)
    return decision.reason

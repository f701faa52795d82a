"""What the cluster half of ``oomtracer run`` was asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_OPT_OUT_ANNOTATION = "oomtracer/ignore"
DEFAULT_PROTECTED_NAMESPACES = frozenset({"kube-system"})


class MarkOn(StrEnum):
    """Whose limit must have been hit for a pod to be marked; each includes the ones before it."""

    NODE = "node"
    POD = "pod"
    ANY = "any"


class PodMetrics(StrEnum):
    """Which containers have series of their own: all of this node, those with a kill, none."""

    ALL = "all"
    KILLED = "killed"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class KeyValue:
    """An annotation or a label."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` in any ``period_s`` seconds."""

    count: int
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """Which pods may be marked, and how. Without annotation and label it is a dry run."""

    annotation: KeyValue | None = None
    label: KeyValue | None = None
    mark_on: MarkOn = MarkOn.NODE
    mark_jobs: bool = False
    protected_namespaces: frozenset[str] = DEFAULT_PROTECTED_NAMESPACES
    """With the agent's own namespace in it."""
    opt_out_annotation: str = DEFAULT_OPT_OUT_ANNOTATION
    max_age_s: float = 15 * 60.0
    """Older kills mark nothing."""
    min_pod_age_s: float = 10 * 60.0
    budget: Rate = Rate(1, 10 * 60.0)
    """Marks on this node."""
    cooldown_s: float = 30 * 60.0
    """Between two marks of pods of one owner on this node."""
    require_admission_policy: bool = False

    @property
    def is_dry_run(self) -> bool:
        """Whether decisions are only told."""
        return self.annotation is None and self.label is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How to reach the API server, and what to do there."""

    kubeconfig: str | None = None
    """None: by kubectl's rules, then in-cluster with the pod's service account."""
    context: str | None = None
    pod_name: str | None = None
    """The pod that the agent runs in, None on a plain host."""
    pod_namespace: str | None = None
    marking: Marking = field(default_factory=Marking)
    events: bool = True
    qps: float = 5.0
    """Writes per second to the API server, on average."""
    burst: int = 10
    start_jitter_s: float = 10.0
    pod_metrics: PodMetrics = PodMetrics.ALL

"""The flags that commands take: names, environment variables and help."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from oomtracer.config import (
    Backfill,
    KubernetesMode,
    LogLevel,
    MarkOn,
    OnUnsupported,
    OutputFormat,
    PodMetrics,
)
from oomtracer.events import Scope


class TableFormat(StrEnum):
    """How a list is written to standard output; ``auto`` is a table on a terminal, else JSON."""

    AUTO = "auto"
    TABLE = "table"
    TEXT = "text"
    """The same, for who has set OOMTRACER_OUTPUT for all commands."""
    JSON = "json"


def _flag(text: str, variable: str, *names: str, others: tuple[str, ...] = ()) -> Any:
    ours = f"OOMTRACER_{variable}"
    # One alone is a string: typer repeats it in its error messages.
    return typer.Option(*names, envvar=[ours, *others] if others else ours, help=text)


Output = Annotated[
    OutputFormat, _flag("Reports on standard output: text, or one JSON object a line.", "OUTPUT")
]
ResultOutput = Annotated[
    OutputFormat, _flag("The result on standard output: text, or one JSON object.", "OUTPUT")
]
Level = Annotated[LogLevel, _flag("Least severe message on stderr.", "LOG_LEVEL")]
RingSize = Annotated[str, _flag("Kernel ring buffer: a power of two such as 1MiB.", "RING_SIZE")]
DisableHook = Annotated[
    list[str],
    _flag(
        "Do without this kernel hook of the table in the README; may be repeated. Another may take over.",
        "DISABLE_HOOK",
    ),
]
UnpinPath = Annotated[str, _flag("Remove what is pinned in this directory.", "PIN_PATH", "--pin-path")]
NodeName = Annotated[
    str,
    _flag(
        "Name of this machine in reports and of its node in the cluster [default: host name].",
        "NODE_NAME",
        others=("NODE_NAME", "K8S_NODENAME"),
    ),
]
MetricsBindAddress = Annotated[
    str,
    _flag(
        "Serve /metrics, /healthz and /readyz here, such as :8080; empty: off.",
        "METRICS_BIND_ADDRESS",
    ),
]
Unsupported = Annotated[
    OnUnsupported,
    _flag(
        "Where this kernel or these privileges cannot trace: exit with 3, or stay up idle, not ready.",
        "ON_UNSUPPORTED",
    ),
]
PinPath = Annotated[
    str,
    _flag(
        "Keep tracing in the kernel while the agent is away: a directory below /sys/fs/bpf; empty: off.",
        "PIN_PATH",
    ),
]
StateDir = Annotated[
    str, _flag("Keep reports and what is not delivered yet in this directory; empty: in memory.", "STATE_DIR")
]
StateMaxSize = Annotated[str, _flag("Size of the journal in --state-dir.", "STATE_MAX_SIZE")]
StateMaxAge = Annotated[str, _flag("Older reports leave the journal.", "STATE_MAX_AGE")]
BackfillFlag = Annotated[
    Backfill,
    _flag("Tell kills of this boot that only the kernel's log knows; auto: with --state-dir.", "BACKFILL"),
]

Kubernetes = Annotated[
    KubernetesMode,
    _flag("Name, tell and mark pods; auto: in a pod, or with a kubeconfig for this node.", "KUBERNETES"),
]
Kubeconfig = Annotated[
    str,
    _flag(
        "File that tells how to reach the API server; empty: kubectl's rules, then the pod's account.",
        "KUBECONFIG",
    ),
]
Context = Annotated[str, _flag("Context of the kubeconfig; empty: its current one.", "CONTEXT")]
VictimAnnotation = Annotated[
    str,
    _flag(
        "Mark victims with this annotation, key=value; without this and --victim-label: dry run.",
        "VICTIM_ANNOTATION",
    ),
]
VictimLabel = Annotated[str, _flag("Mark victims with this label, key=value.", "VICTIM_LABEL")]
UnmarkAnnotation = Annotated[
    str, _flag("Remove this annotation, key or key=value; with a value only that one.", "VICTIM_ANNOTATION")
]
UnmarkLabel = Annotated[str, _flag("Remove this label, key=value.", "VICTIM_LABEL")]
AllNodes = Annotated[bool, _flag("Pods of all nodes, as an administrator may.", "ALL_NODES", "--all-nodes")]
Namespace = Annotated[str, _flag("Pods of this namespace alone; empty: of all.", "NAMESPACE")]
DryRun = Annotated[bool, _flag("Tell what would be removed, and change nothing.", "DRY_RUN", "--dry-run")]
MarkOnFlag = Annotated[
    MarkOn,
    _flag("Whose limit must be hit: node (or one above the pod), pod too, or any.", "MARK_ON"),
]
MarkJobs = Annotated[bool, _flag("Mark pods of Jobs too.", "MARK_JOBS")]
ProtectNamespace = Annotated[
    list[str],
    _flag(
        "Never mark pods of this namespace; may be repeated. The agent's own always is.", "PROTECT_NAMESPACE"
    ),
]
OptOutAnnotation = Annotated[str, _flag("Pods with this annotation are never marked.", "OPT_OUT_ANNOTATION")]
MarkMaxAge = Annotated[str, _flag("Older kills mark nothing.", "MARK_MAX_AGE")]
MarkMinPodAge = Annotated[str, _flag("Younger pods are not marked.", "MARK_MIN_POD_AGE")]
MarkBudget = Annotated[str, _flag("Most marks on this node in any such time.", "MARK_BUDGET")]
MarkCooldown = Annotated[str, _flag("Time between marks of one owner's pods on this node.", "MARK_COOLDOWN")]
RequireAdmissionPolicy = Annotated[
    bool, _flag("Mark only while an admission policy keeps us to our own.", "REQUIRE_ADMISSION_POLICY")
]
Events = Annotated[bool, _flag("Tell kills as Kubernetes Events.", "EVENTS", "--events/--no-events")]
PodMetricsFlag = Annotated[
    PodMetrics, _flag("Series for all containers of the node, for those with a kill, or none.", "POD_METRICS")
]
Qps = Annotated[float, _flag("Writes per second to the API server, on average.", "QPS")]
Burst = Annotated[int, _flag("Writes that may come at once.", "BURST")]
StartJitter = Annotated[str, _flag("Longest random wait before the first request.", "START_JITTER")]
PodName = Annotated[str, _flag("Name of the pod that the agent runs in.", "POD_NAME")]
PodNamespace = Annotated[
    str, _flag("Its namespace; empty: that of the pod's service account.", "POD_NAMESPACE")
]

HistoryOutput = Annotated[
    TableFormat, _flag("A table (text is the same), or one JSON object a line as `run` writes it.", "OUTPUT")
]
HistoryStateDir = Annotated[str, _flag("Directory of the agent's journal.", "STATE_DIR")]
Since = Annotated[
    str, _flag("Only kills since then: 2h (before now), 2026-03-01, or 2026-03-01T12:00:00Z.", "SINCE")
]
Until = Annotated[str, _flag("Only kills before then.", "UNTIL")]
Pod = Annotated[str, _flag("Only kills in this pod: name, namespace/name, or uid.", "POD")]
Unit = Annotated[str, _flag("Only kills in this systemd unit, such as nginx.service.", "UNIT")]
ScopeFlag = Annotated[Scope | None, _flag("Only kills of this scope.", "SCOPE")]
Limit = Annotated[int | None, _flag("Only so many, the newest.", "LIMIT")]

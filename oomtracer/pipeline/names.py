"""The names of a report's pods, container and owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from oomtracer.events import OomReport, Workload, WorkloadKind
from oomtracer.pods import PodIdentity

Lookup = Callable[[Workload], PodIdentity | None]

# The kubelet's, for the sandbox of every pod and for nothing else of it (pkg/kubelet/qos/policy.go).
_SANDBOX_OOM_SCORE_ADJ = -998


def with_names(report: OomReport, identity: PodIdentity, lookup: Lookup) -> OomReport:
    """The report with what the API server knows of the victim's pod, and of the trigger's."""
    return replace(
        with_trigger(report, lookup),
        workload=named(report.workload, identity, container=_container(report, identity)),
        init_died=None if identity.pod.shares_pid_namespace else report.init_died,
    )


def with_trigger(report: OomReport, lookup: Lookup) -> OomReport:
    """The report with what the API server knows of the trigger's pod."""
    trigger = report.trigger_workload
    identity = lookup(trigger) if trigger and trigger.kind is WorkloadKind.POD else None
    if not trigger or not identity:
        return report
    return replace(report, trigger_workload=named(trigger, identity, container=identity.container))


def named(workload: Workload, identity: PodIdentity, *, container: str | None) -> Workload:
    """The workload with its names."""
    pod = identity.pod
    return replace(
        workload,
        namespace=pod.namespace,
        pod=pod.name,
        container=container,
        static=pod.is_mirror,
        owner=pod.owner,
        resolved=True,
    )


def _container(report: OomReport, identity: PodIdentity) -> str | None:
    """The container's name; of a pod with only one it is known before its id is."""
    containers = identity.pod.containers
    if identity.container is not None or report.workload.container_id is None:
        return identity.container
    is_sandbox = report.victim.oom_score_adj == _SANDBOX_OOM_SCORE_ADJ
    return containers[0] if len(containers) == 1 and not is_sandbox else None

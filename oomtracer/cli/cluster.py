"""From flags to ``Cluster``: whether there is one, and what to do there."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from oomtracer.config import (
    Cluster,
    KubernetesMode,
    Marking,
    MarkOn,
    PodMetrics,
    check_key,
    parse_annotation,
    parse_duration,
    parse_label,
    parse_rate,
)
from oomtracer.errors import UsageError
from oomtracer.kube.source import IN_CLUSTER, configuration_source

logger = logging.getLogger("oomtracer.cli")

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MAX_BURST = 10_000
_MIN_QPS, _MAX_QPS = 0.001, 10_000.0
_MAX_NODE = 253
_NODE = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkingFlags:
    """The flags about marking, as they were given."""

    victim_annotation: str
    victim_label: str
    mark_on: MarkOn
    mark_jobs: bool
    protect_namespace: list[str]
    opt_out_annotation: str
    mark_max_age: str
    mark_min_pod_age: str
    mark_budget: str
    mark_cooldown: str
    require_admission_policy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFlags:
    """The flags about the cluster, as they were given; ``node_name`` is empty where it was not."""

    kubernetes: KubernetesMode
    node_name: str
    kubeconfig: str
    context: str
    events: bool
    pod_metrics: PodMetrics
    qps: float
    burst: int
    start_jitter: str
    pod_name: str
    pod_namespace: str


def cluster_of(flags: ClusterFlags, marking: MarkingFlags) -> Cluster | None:
    """The cluster to talk to; None where there is none, or none is wanted. Raises UsageError."""
    source = _source(flags)
    own_namespace = _own_namespace(flags, source)
    cluster = Cluster(
        kubeconfig=flags.kubeconfig or None,
        context=flags.context or None,
        pod_name=flags.pod_name or None,
        pod_namespace=own_namespace,
        marking=_marking(marking, own_namespace=own_namespace),
        events=flags.events,
        qps=_checked_qps(flags.qps),
        burst=_checked_burst(flags.burst),
        start_jitter_s=parse_duration(flags.start_jitter, flag="--start-jitter"),
        pod_metrics=flags.pod_metrics,
    )
    if source is None:
        _check_without(flags, cluster.marking)
        return None
    _check_own_pod(cluster)
    if flags.node_name:
        _check_node(flags.node_name)
    return cluster


def _check_without(flags: ClusterFlags, marking: Marking) -> None:
    """Raise UsageError for what needs a cluster."""
    if marking.is_dry_run:
        return
    if flags.kubernetes is KubernetesMode.OFF:
        raise UsageError("there is a mark for pods, but --kubernetes=off", hint="leave one of them out")
    raise UsageError(
        "there is a mark for pods, but no cluster",
        hint="give --kubeconfig, or --node-name where ~/.kube/config is meant",
    )


def _check_own_pod(cluster: Cluster) -> None:
    marking = cluster.marking
    knows_own_pod = cluster.pod_name and cluster.pod_namespace
    if marking.require_admission_policy and not marking.is_dry_run and not knows_own_pod:
        raise UsageError(
            "--require-admission-policy: the policy is tried out on the agent's own pod, which is not known",
            hint="give --pod-name and --pod-namespace (metadata of the downward API)",
        )


def _source(flags: ClusterFlags) -> str | None:
    if flags.kubernetes is KubernetesMode.OFF:
        return None
    source = configuration_source(flags.kubeconfig or None)
    if source is None:
        _say_no_source(flags)
        return None
    if source == IN_CLUSTER and not flags.node_name:
        raise UsageError(
            "in a pod the host name is the pod's: which node this is has to be told",
            hint="give --node-name, or NODE_NAME from spec.nodeName of the downward API",
        )
    is_personal = source != IN_CLUSTER and not flags.kubeconfig and not os.environ.get("KUBECONFIG")
    if is_personal and flags.kubernetes is KubernetesMode.AUTO and not flags.node_name:
        # It does not make the machine a node of that cluster.
        logger.info("no cluster: a person's kubeconfig is used only with --node-name or --kubernetes=on")
        return None
    return source


def _say_no_source(flags: ClusterFlags) -> None:
    if flags.kubernetes is KubernetesMode.ON:
        raise UsageError(
            "--kubernetes=on, but there is no kubeconfig and no service account",
            hint="give --kubeconfig, or run in a pod",
        )
    if files := os.environ.get("KUBECONFIG"):
        logger.info("no cluster: $KUBECONFIG names no file that exists: %s", files[:200])


def _own_namespace(flags: ClusterFlags, source: str | None) -> str | None:
    if flags.pod_namespace or source != IN_CLUSTER:
        return flags.pod_namespace or None
    with suppress(OSError, UnicodeDecodeError):
        return NAMESPACE_FILE.read_text().strip() or None
    return None


def _marking(flags: MarkingFlags, *, own_namespace: str | None) -> Marking:
    annotation = flags.victim_annotation.strip()
    label = flags.victim_label.strip()
    check_key(flags.opt_out_annotation, flag="--opt-out-annotation", example="example.com/key")
    marks = [
        parse_annotation(annotation, flag="--victim-annotation") if annotation else None,
        parse_label(label, flag="--victim-label") if label else None,
    ]
    if marks[0] and marks[0].key == flags.opt_out_annotation:
        raise UsageError(
            f"--victim-annotation: {marks[0].key} is the annotation that opts a pod out",
            hint="choose another key, or another --opt-out-annotation",
        )
    return Marking(
        annotation=marks[0],
        label=marks[1],
        mark_on=flags.mark_on,
        mark_jobs=flags.mark_jobs,
        protected_namespaces=_namespaces(flags.protect_namespace, own_namespace),
        opt_out_annotation=flags.opt_out_annotation,
        max_age_s=parse_duration(flags.mark_max_age, flag="--mark-max-age"),
        min_pod_age_s=parse_duration(flags.mark_min_pod_age, flag="--mark-min-pod-age"),
        budget=parse_rate(flags.mark_budget, flag="--mark-budget"),
        cooldown_s=parse_duration(flags.mark_cooldown, flag="--mark-cooldown"),
        require_admission_policy=flags.require_admission_policy,
    )


def _namespaces(given: list[str], own: str | None) -> frozenset[str]:
    names = {name.strip() for each in given for name in each.split(",")} - {""}
    for name in sorted(names):
        check_namespace(name, flag="--protect-namespace")
    return frozenset(names | ({own} if own else set()))


def check_namespace(name: str, *, flag: str) -> None:
    """Raise UsageError for what cannot be the name of a namespace."""
    if not _NAMESPACE.fullmatch(name):
        raise UsageError(
            f"{flag}: {name[:100]!a} is no name of a namespace", hint=f"write {flag}=kube-system"
        )


def _check_node(name: str) -> None:
    if len(name) > _MAX_NODE or not _NODE.fullmatch(name):
        raise UsageError(
            f"--node-name: {name[:100]!a} is no name of a node: lower-case letters, digits, '-' and '.'",
            hint="take it from `kubectl get nodes`, or from spec.nodeName of the downward API",
        )


def _checked_qps(qps: float) -> float:
    if not _MIN_QPS <= qps <= _MAX_QPS:
        raise UsageError(f"--qps: {qps} is not from {_MIN_QPS} to {_MAX_QPS:g}", hint="write --qps=5")
    return qps


def _checked_burst(burst: int) -> int:
    if not 1 <= burst <= _MAX_BURST:
        raise UsageError(f"--burst: {burst} is not from 1 to {_MAX_BURST}", hint="write --burst=10")
    return burst

"""Whole pods, as an API server shows them, from the few things a test cares about."""

from __future__ import annotations

import hashlib
import itertools
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .managed import CONDITIONS, entries_of_pod
from .state import timestamp

IMAGE_ID = f"registry.example/app@sha256:{'1' * 64}"
NODE_UID = "d5b651e0-5802-4775-b3f7-fd447fe38f63"
NOT_READY = ("not-ready", "unreachable")

_serial = itertools.count(1)


def make_pod(
    name: str,
    *,
    namespace: str = "demo",
    uid: str | None = None,
    node: str | None = "node-a",
    containers: Sequence[str] = ("app",),
    init_containers: Sequence[str] = (),
    container_ids: Mapping[str, str] | None = None,
    owner: tuple[str, str] | None = ("ReplicaSet", "web-6d4cf56db6"),
    phase: str = "Running",
    priority: int = 0,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created: float | None = None,
    shares_pid_namespace: bool = False,
) -> dict[str, Any]:
    """A pod with everything that the recorded ones have.

    Without ``uid`` it gets a new one; without ``node`` it is not scheduled. ``container_ids`` maps names
    to ids without ``containerd://``, a container that is missing there gets an id of its own. ``owner``
    is kind and name of the controller, None for a bare pod; ``created`` is Unix time, None an hour ago.
    """
    made = timestamp(time.time() - 3600 if created is None else created)
    uid = uid or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace}/{name}/{next(_serial)}"))
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": uid, "generation": 1}
    metadata |= {"creationTimestamp": made, "labels": dict({"app": name} if labels is None else labels)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if owner:
        metadata["ownerReferences"] = [_controller(*owner)]
    spec = _spec(containers, init_containers, node, priority)
    if shares_pid_namespace:
        spec["shareProcessNamespace"] = True
    ids = {each: container_id_of(uid, each) for each in (*init_containers, *containers)} | dict(
        container_ids or {}
    )
    status = _status(phase, made, [_running(c, ids[c], made) for c in containers])
    if init_containers and "containerStatuses" in status:
        status["initContainerStatuses"] = [_completed(c, ids[c], made) for c in init_containers]
    pod = {"metadata": metadata, "spec": spec, "status": status}
    metadata["managedFields"] = entries_of_pod(pod, made)
    return pod


def make_static_pod(
    name: str,
    *,
    config_hash: str,
    node: str = "node-a",
    annotations: Mapping[str, str] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """The mirror pod of a static pod: cgroup paths hold ``config_hash``, not the object's uid.

    ``name`` is without the node's name, which the kubelet adds; ``rest`` goes to make_pod.
    """
    kubelet = {
        "kubernetes.io/config.hash": config_hash,
        "kubernetes.io/config.mirror": config_hash,
        "kubernetes.io/config.seen": "2026-11-22T13:00:00.000000000Z",
        "kubernetes.io/config.source": "file",
    }
    rest = {"namespace": "kube-system"} | rest | {"node": node, "owner": ("Node", node)}
    pod = make_pod(f"{name}-{node}", annotations=kubelet | dict(annotations or {}), **rest)
    pod["spec"]["tolerations"] = [{"operator": "Exists", "effect": "NoExecute"}]
    return pod


def container_id_of(uid: str, container: str) -> str:
    """The id that make_pod gives a container: 64 hex digits, the same for the same pod and name."""
    return hashlib.sha256(f"{uid}/{container}".encode()).hexdigest()


def _controller(kind: str, name: str) -> dict[str, Any]:
    group = {"Job": "batch/v1", "Node": "v1"}.get(kind, "apps/v1")
    uid = NODE_UID if kind == "Node" else str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{name}"))
    reference = {"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": True}
    return reference if kind == "Node" else reference | {"blockOwnerDeletion": True}


def _spec(
    containers: Sequence[str], init_containers: Sequence[str], node: str | None, priority: int
) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if init_containers:
        spec["initContainers"] = [_container(each) for each in init_containers]
    spec |= {"containers": [_container(each) for each in containers], "restartPolicy": "Always"}
    spec |= {"terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst"}
    spec |= {"serviceAccountName": "default", "serviceAccount": "default"}
    if node is not None:
        spec["nodeName"] = node
    tolerations = [
        {
            "key": f"node.kubernetes.io/{why}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
        for why in NOT_READY
    ]
    spec |= {"securityContext": {}, "schedulerName": "default-scheduler", "tolerations": tolerations}
    return spec | {
        "priority": priority,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _container(name: str) -> dict[str, Any]:
    amount = {"cpu": "1", "memory": "1Gi"}
    return {
        "name": name,
        "image": "registry.example/app:1",
        "resources": {"limits": dict(amount), "requests": dict(amount)},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def _status(phase: str, made: str, containers: list[dict[str, Any]]) -> dict[str, Any]:
    if phase == "Pending":
        return {"phase": phase, "qosClass": "Guaranteed"}
    conditions = [
        {"type": name, "status": "True", "lastProbeTime": None, "lastTransitionTime": made}
        for name in CONDITIONS
    ]
    status = {
        "phase": phase,
        "conditions": conditions,
        "hostIP": "192.0.2.21",
        "hostIPs": [{"ip": "192.0.2.21"}],
    }
    status |= {"podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}], "startTime": made}
    return status | {"containerStatuses": containers, "qosClass": "Guaranteed"}


def _container_status(name: str, container_id: str, state: dict[str, Any]) -> dict[str, Any]:
    status = {"name": name, "state": state, "lastState": {}, "ready": True, "restartCount": 0}
    status |= {"image": "registry.example/app:1", "imageID": IMAGE_ID}
    return status | {"containerID": f"containerd://{container_id}"}


def _running(name: str, container_id: str, made: str) -> dict[str, Any]:
    return _container_status(name, container_id, {"running": {"startedAt": made}}) | {"started": True}


def _completed(name: str, container_id: str, made: str) -> dict[str, Any]:
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": made, "finishedAt": made}
    state = {"terminated": ended | {"containerID": f"containerd://{container_id}"}}
    return _container_status(name, container_id, state) | {"started": False}

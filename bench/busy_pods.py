"""Pods as they are in busy clusters: 12 to 20 KB of JSON, most of it said twice, by the pod and by who manages what."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from tests.kube.apiserver import container_id_of, make_pod
from tests.kube.apiserver.managed import CONDITIONS

NAMESPACE = "shop"
_SIDECAR_STATUS = {"initContainers": ["mesh-init"], "containers": ["mesh-proxy"], "revision": "default"}
_Json = dict[str, Any]


def busy_pod(number: int, node: str) -> _Json:
    """A pod of a Deployment: an app with a sidecar, every fourth with a third container."""
    name = f"checkout-{number // 5}-7d4b9c6f5d-{number:05x}"
    containers = ("app", "mesh-proxy") + (("log-shipper",) if number % 4 == 0 else ())
    pod = make_pod(
        name,
        namespace=NAMESPACE,
        uid=str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        node=node,
        containers=containers,
        init_containers=("mesh-init",),
        owner=("ReplicaSet", f"checkout-{number // 5}-7d4b9c6f5d"),
        labels=_labels(number),
        annotations=_annotations(number),
    )
    spec = pod["spec"]
    for container in (*spec["containers"], *spec["initContainers"]):
        container.update(_container(container["name"], number))
    spec["volumes"] = [_volume(each) for each in _VOLUMES]
    pod["metadata"]["managedFields"] = _managed(pod)
    return pod


def twins(pod: _Json, count: int, nodes: Sequence[str]) -> Iterator[_Json]:
    """So many more of the same, one after the other on these nodes."""
    for number in range(count):
        name = f"{pod['metadata']['name']}-{number}"
        metadata = pod["metadata"] | {"name": name, "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, name))}
        yield pod | {"metadata": metadata, "spec": pod["spec"] | {"nodeName": nodes[number % len(nodes)]}}


def changed(pod: _Json, *, restarted: bool) -> _Json:
    """The pod after its kubelet told of it: its probes failed or recovered, or its last container restarted."""
    status, uid = pod["status"], pod["metadata"]["uid"]
    conditions = [
        one | {"status": "False" if one["status"] == "True" else "True"} for one in status["conditions"]
    ]
    *others, last = status["containerStatuses"]
    if restarted:
        count = last["restartCount"] + 1
        ended = {"exitCode": 1, "reason": "Error", "containerID": last["containerID"]}
        container_id = container_id_of(uid, f"{last['name']}/{count}")
        last = last | {"restartCount": count, "containerID": f"containerd://{container_id}"}
        last |= {"lastState": {"terminated": ended}}
    return pod | {"status": status | {"conditions": conditions, "containerStatuses": [*others, last]}}


def _labels(number: int) -> dict[str, str]:
    names = ("component", "instance", "managed-by", "part-of", "version")
    labels = {f"app.kubernetes.io/{name}": f"checkout-{number // 5}" for name in names}
    return labels | {
        "app.kubernetes.io/name": "checkout",
        "pod-template-hash": "7d4b9c6f5d",
        "team": "payments",
    }


def _annotations(number: int) -> dict[str, str]:
    return {
        "checksum/config": f"{number:064x}",
        "checksum/secret": f"{number * 7:064x}",
        "cni.example/pod-ips": f"10.244.{number // 250}.{number % 250}/32",
        "kubectl.kubernetes.io/default-container": "app",
        "kubectl.kubernetes.io/restartedAt": "2026-11-20T08:12:45Z",
        "metrics.example/path": "/metrics",
        "metrics.example/port": "9090",
        "metrics.example/scrape": "true",
        "mesh.example/status": str(_SIDECAR_STATUS),
    }


_VOLUMES = ("config", "secrets", "cache", "certificates", "mesh-data")


def _container(name: str, number: int) -> _Json:
    is_app = name == "app"
    probe = {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "initialDelaySeconds": 5}
    probe |= {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    return {
        "image": f"registry.example.internal/payments/{name}:2026.11.{number % 30}",
        "args": [f"--listen=0.0.0.0:{port}" for port in (8080, 8443, 9090)],
        "ports": [{"name": port, "containerPort": 8080, "protocol": "TCP"} for port in ("http", "metrics")],
        "env": [_variable(name, index) for index in range(3 + number % 6 if is_app else number % 3)],
        "volumeMounts": [
            {"name": each, "mountPath": f"/var/run/{each}", "readOnly": True} for each in _VOLUMES
        ],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
    }


def _variable(container: str, index: int) -> _Json:
    name = f"{container.upper().replace('-', '_')}_SETTING_{index}"
    if index % 3:
        return {"name": name, "value": f"https://service-{index}.payments.svc.cluster.local:8443/v1"}
    key = {"name": f"checkout-{container}", "key": name.lower()}
    return {"name": name, "valueFrom": {"secretKeyRef": key}}


def _volume(name: str) -> _Json:
    return {"name": name, "configMap": {"name": f"checkout-{name}", "defaultMode": 420}}


def _managed(pod: _Json) -> list[_Json]:
    """Entries of the creator and the kubelet, with every field that they set."""
    metadata, made = pod["metadata"], pod["metadata"]["creationTimestamp"]
    set_up = {"metadata": {key: metadata[key] for key in ("annotations", "labels", "ownerReferences")}}
    by = {"operation": "Update", "apiVersion": "v1", "time": made, "fieldsType": "FieldsV1"}
    conditions: _Json = {
        f'k:{{"type":"{name}"}}': {".": {}, "f:status": {}, "f:type": {}} for name in CONDITIONS
    }
    status: _Json = {f"f:{name}": {} for name in pod["status"]} | {"f:conditions": conditions}
    return [
        {"manager": "kube-controller-manager", **by, "fieldsV1": _fields(set_up | {"spec": pod["spec"]})},
        {"manager": "kubelet", **by, "fieldsV1": {"f:status": status}, "subresource": "status"},
    ]


def _fields(value: Any) -> _Json:
    """FieldsV1: ``f:`` and the name for members of objects, ``k:`` and the key for those of lists."""
    if isinstance(value, dict):
        return {f"f:{name}": _fields(one) for name, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return {f'k:{{"name":"{one["name"]}"}}': {".": {}} | _fields(one) for one in value}
    return {}

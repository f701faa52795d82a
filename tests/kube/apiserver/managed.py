"""``managedFields``: most of a pod's bytes on the wire, so that readers are tested with their weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CONDITIONS = ("ContainersReady", "Initialized", "PodReadyToStartContainers", "PodScheduled", "Ready")
CONTAINER_FIELDS = ("image", "imagePullPolicy", "name")
SPEC_FIELDS = (
    "dnsPolicy",
    "enableServiceLinks",
    "nodeName",
    "restartPolicy",
    "schedulerName",
    "securityContext",
    "terminationGracePeriodSeconds",
)


def owned(names: Iterable[str], *, itself: bool = True) -> dict[str, Any]:
    """A FieldsV1 set: ``f:NAME`` for each, and ``.`` for the map or list itself."""
    return ({".": {}} if itself else {}) | {f"f:{name}": {} for name in sorted(names)}


def entry(
    manager: str, time: str, fields: Mapping[str, Any], *, version: str = "v1", subresource: str = ""
) -> dict[str, Any]:
    """One manager's entry."""
    made: dict[str, Any] = {"manager": manager, "operation": "Update", "apiVersion": version, "time": time}
    made |= {"fieldsType": "FieldsV1", "fieldsV1": dict(fields)}
    return made | ({"subresource": subresource} if subresource else {})


def entries_of_pod(pod: Mapping[str, Any], time: str) -> list[dict[str, Any]]:
    """Entries as the creator and the kubelet leave them."""
    metadata = pod["metadata"]
    fields = {
        "f:metadata": {
            f"f:{key}": owned(metadata[key]) for key in ("annotations", "labels") if key in metadata
        }
    }
    containers = {f'k:{{"name":"{c["name"]}"}}': _container(c) for c in pod["spec"]["containers"]}
    spec = owned((name for name in SPEC_FIELDS if name in pod["spec"]), itself=False)
    entries = [
        entry("kube-controller-manager", time, fields | {"f:spec": {"f:containers": containers} | spec})
    ]
    if "conditions" in pod["status"]:
        entries.append(entry("kubelet", time, {"f:status": _status(pod["status"])}, subresource="status"))
    return entries


def note_patch(
    metadata: dict[str, Any], manager: str, time: str, changed: Mapping[str, Iterable[str]]
) -> None:
    """Let ``manager`` own the keys that it set: ``changed`` is ``{"annotations": keys, "labels": keys}``."""
    entries = [dict(one) for one in metadata.get("managedFields", [])]
    fields = {"f:metadata": {f"f:{part}": owned(keys, itself=False) for part, keys in changed.items()}}
    for one in entries:
        if one["manager"] == manager and "subresource" not in one:
            one |= {"time": time, "fieldsV1": _joined(one["fieldsV1"], fields)}
            break
    else:
        entries.append(entry(manager, time, fields))
    metadata["managedFields"] = entries


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(old)
    for key, value in new.items():
        joined[key] = _joined(joined.get(key, {}), value)
    return joined


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    fields = owned(CONTAINER_FIELDS) | {"f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}
    resources = {f"f:{part}": owned(values) for part, values in container.get("resources", {}).items()}
    return fields | {"f:resources": {".": {}} | resources}


def _status(status: Mapping[str, Any]) -> dict[str, Any]:
    parts = ("lastProbeTime", "lastTransitionTime", "status", "type")
    conditions = {f'k:{{"type":"{name}"}}': owned(parts) for name in CONDITIONS}
    others = owned((name for name in status if name not in ("conditions", "qosClass")), itself=False)
    return {"f:conditions": {".": {}} | conditions} | others

"""JSON merge patch (RFC 7386) and the part of Kubernetes' strategic merge patch that pods need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "conditions": "type",
    "ownerReferences": "uid",
}
SETS = ("finalizers",)


def merge(target: Any, patch: Any) -> Any:
    """``target`` with ``patch`` laid over it: null removes a key, anything but an object replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def strategic_merge(target: Any, patch: Any, field: str = "") -> Any:
    """The same, but lists with a merge key are merged item by item."""
    if isinstance(patch, list) and isinstance(target, list):
        return _merge_lists(target, patch, field)
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = strategic_merge(merged.get(key), value, key)
    return merged


def _merge_lists(target: list[Any], patch: list[Any], field: str) -> list[Any]:
    if field in SETS:
        return [*target, *(item for item in patch if item not in target)]
    if field not in MERGE_KEYS:
        return patch
    key = MERGE_KEYS[field]
    merged = {item[key]: item for item in target}
    for item in patch:
        merged[item[key]] = strategic_merge(merged.get(item[key]), item)
    return list(merged.values())

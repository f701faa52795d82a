"""The API server's pods, from its bytes to slim records.

A pod is 12 to 20 KB of JSON, most of it who manages which field. What nobody here asks for is dropped while it is
parsed, object by object, so that not even one whole pod is ever in memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from oomtracer.kube.api import Response
from oomtracer.kube.containers import container_ids, container_names
from oomtracer.kube.fields import EMPTY, object_of, text_of, version_of
from oomtracer.kube.json_list import JsonListReader, MalformedError
from oomtracer.kube.owners import TEMPLATE_HASHES, controller_of, is_mirror_owner, owner_of
from oomtracer.kube.status import Status, status_of
from oomtracer.pods import Pod

MAX_VALUE_CHARACTERS: Final = 1024
"""Of an annotation that its owner may have filled with 256 KiB."""

# The kubelet sets it to the value of kubernetes.io/config.hash. Unlike that, it can never be changed or added later.
_CONFIG_MIRROR: Final = "kubernetes.io/config.mirror"
_LIST_KIND: Final = "PodList"
_MAX_INTEGER: Final = 2**31
PIECE_BYTES: Final = 64 * 1024
"""Of a list, parsed at once: some milliseconds of work."""

# Every key that is read anywhere below, wherever it stands: the parser does not know where it is.
_KEYS: Final = frozenset(
    {
        *("type", "object", "code", "reason", "message", "details", "retryAfterSeconds"),
        *("kind", "metadata", "spec", "status", "name", "namespace", "uid", "resourceVersion"),
        *("creationTimestamp", "deletionTimestamp", "ownerReferences", "controller", "annotations", "labels"),
        *(
            "containers",
            "initContainers",
            "ephemeralContainers",
            "priority",
            "shareProcessNamespace",
            "hostPID",
            "phase",
        ),
        *("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"),
        *("containerID", "state", "lastState", "terminated"),
        *(_CONFIG_MIRROR, *TEMPLATE_HASHES),
    }
)


class EventType(StrEnum):
    """What a line of a watch tells."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A line of a watch."""

    type: EventType
    resource_version: int = 0
    """From which the watch can go on; 0 for an ERROR."""
    pod: Pod | None = None
    """Of ADDED, MODIFIED and DELETED (its last state)."""
    status: Status | None = None
    """Of ERROR: why the watch ends."""


@dataclass(frozen=True, slots=True)
class PodList:
    """The pods as they were at one version."""

    resource_version: int
    pods: tuple[Pod, ...]
    skipped: int = 0
    """Items that are no pods: without uid, name, namespace or version."""


class PodReader:
    """Knows which annotations and labels are wanted; everything else it reads is the same for all."""

    def __init__(self, annotation_keys: Iterable[str], label_keys: Iterable[str]) -> None:
        self._annotation_keys = tuple(map(sys.intern, annotation_keys))
        self._label_keys = tuple(map(sys.intern, label_keys))
        self._keys = _KEYS.union(self._annotation_keys, self._label_keys)
        self.decoder: Final = json.JSONDecoder(object_pairs_hook=self._slim)

    def pods_of_list(self, body: bytes) -> PodList:
        """The pods of a whole list.

        Raises MalformedError.
        """
        reader = PodListReader(self)
        for start in range(0, len(body), PIECE_BYTES):
            reader.feed(body[start : start + PIECE_BYTES])
        return reader.finish()

    def event_of_line(self, line: bytes) -> WatchEvent:
        """What a line of a watch says.

        Raises MalformedError.
        """
        document = self._document(line)
        try:
            kind = EventType(text_of(document.get("type")))
        except ValueError:
            raise MalformedError("a line of the watch is of no known type") from None
        body = object_of(document.get("object"))
        if kind is EventType.ERROR:
            return WatchEvent(kind, status=_error_of(body))
        version = version_of(object_of(body.get("metadata")))
        pod = None if kind is EventType.BOOKMARK else self.pod_of(body)
        if version is None or (pod is None and kind is not EventType.BOOKMARK):
            raise MalformedError(f"a line of the watch says {kind} of no pod")
        return WatchEvent(kind, version, pod)

    def pod_of(self, document: Mapping[str, object]) -> Pod | None:
        """The record of a pod, None if it has no uid, name, namespace or version."""
        metadata = object_of(document.get("metadata"))
        uid, namespace, name = (text_of(metadata.get(key)) for key in ("uid", "namespace", "name"))
        version = version_of(metadata)
        if not (uid and namespace and name) or version is None:
            return None
        spec, status = object_of(document.get("spec")), object_of(document.get("status"))
        annotations, labels = object_of(metadata.get("annotations")), object_of(metadata.get("labels"))
        controller = controller_of(metadata)
        mirror = text_of(annotations.get(_CONFIG_MIRROR))
        return Pod(
            uid=uid,
            namespace=sys.intern(namespace),
            name=name,
            # Anybody may give a pod of theirs the hash of another.
            config_hash=mirror if mirror and is_mirror_owner(controller) else None,
            is_mirror=bool(mirror),
            created_s=_unix_s(text_of(metadata.get("creationTimestamp"))),
            phase=sys.intern(text_of(status.get("phase")) or "Unknown"),
            is_terminating=bool(text_of(metadata.get("deletionTimestamp"))),
            priority=_integer(spec.get("priority")),
            controller=controller,
            owner=owner_of(controller, labels),
            containers=container_names(spec),
            init_containers=container_names(spec, ("initContainers",)),
            ephemeral_containers=container_names(spec, ("ephemeralContainers",)),
            container_ids=container_ids(status) or EMPTY,
            shares_pid_namespace=any(spec.get(key) is True for key in ("shareProcessNamespace", "hostPID")),
            annotations=_wanted(annotations, self._annotation_keys),
            labels=_wanted(labels, self._label_keys),
            resource_version=version,
        )

    def _slim(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = self._keys
        return {key: value for key, value in pairs if key in keys}

    def _document(self, line: bytes) -> Mapping[str, object]:
        try:
            return object_of(self.decoder.decode(line.decode(errors="replace")))
        except (ValueError, RecursionError):
            raise MalformedError("a line of the watch is not JSON") from None


class PodListReader:
    """Takes a list's body as it arrives and keeps slim records only."""

    def __init__(self, reader: PodReader) -> None:
        self._pod_of = reader.pod_of
        self._pods: list[Pod] = []
        self._skipped = 0
        self._json = JsonListReader(reader.decoder, self._take)
        self.feed = self._json.feed

    def finish(self) -> PodList:
        """The list, after the last chunk.

        Raises MalformedError, as ``feed`` does.
        """
        self._json.finish()
        members = self._json.members
        version = version_of(object_of(members.get("metadata")))
        is_of_pods = members.get("kind", _LIST_KIND) == _LIST_KIND
        if version is None or not self._json.has_items or not is_of_pods:
            raise MalformedError("the answer is no list of pods")
        if self._skipped and not self._pods:
            # To believe it would end all that is known.
            raise MalformedError("none of the list's items is a pod")
        return PodList(version, tuple(self._pods), self._skipped)

    def _take(self, item: object) -> None:
        pod = self._pod_of(object_of(item))
        if pod is None:
            self._skipped += 1
        else:
            self._pods.append(pod)


def _error_of(document: Mapping[str, object]) -> Status:
    details = {"retryAfterSeconds": _integer(object_of(document.get("details")).get("retryAfterSeconds"))}
    texts = {key: text_of(document.get(key)) for key in ("reason", "message")}
    body = json.dumps({"kind": "Status", "details": details, **texts})
    return status_of(Response(_integer(document.get("code")), {}, body.encode()))


def _wanted(values: Mapping[str, object], keys: tuple[str, ...]) -> Mapping[str, str]:
    found = {key: text_of(values[key])[:MAX_VALUE_CHARACTERS] for key in keys if key in values}
    return found or EMPTY


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if abs(value) < _MAX_INTEGER else 0


def _unix_s(time: str) -> float:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return 0.0
    return moment.timestamp() if moment.tzinfo else 0.0

"""What the server stores: pods, Events, namespaces, one growing resourceVersion, and the changes made."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
Json = dict[str, Any]


METADATA_ORDER = (
    *("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation"),
    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations"),
    *("ownerReferences", "finalizers", "managedFields"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One pod's change. A deletion has no ``after``; its ``before`` is the last state."""

    version: int
    before: Json | None
    after: Json | None


def timestamp(unix_s: float) -> str:
    """Unix time as ``metav1.Time`` writes it: whole seconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def key_of(thing: Mapping[str, Any]) -> Key:
    """Namespace and name, which is also the order of a list."""
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def ordered(metadata: Mapping[str, Any]) -> Json:
    """The same in the order in which Go writes it: fields as declared, keys of maps sorted."""
    made = {key: metadata[key] for key in METADATA_ORDER if key in metadata}
    return made | {key: dict(sorted(made[key].items())) for key in ("labels", "annotations") if key in made}


class Store:
    """Objects are never changed in place: every change stores a new copy, so that streams may hold them.

    ``oldest`` is the first resourceVersion that a watch may still start from.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, history_limit: int = 2000) -> None:
        self.clock = clock
        self.version = 200
        self.oldest = 200
        self.history: list[Change] = []
        self.history_limit = history_limit
        self.on_change: list[Callable[[Change], None]] = []
        self.pods: dict[Key, Json] = {}
        self.events: dict[Key, Json] = {}
        self.namespaces = {"default", "kube-system"}
        self.terminating_namespaces: set[str] = set()

    # ---------------------------------------------------------------------------------------- pods

    def add(self, pod: Mapping[str, Any]) -> Json:
        """Create a pod; what it lacks of uid, creation time and generation is filled in."""
        new = copy.deepcopy(dict(pod))
        if key_of(new) in self.pods:
            raise ValueError(f"the pod {key_of(new)} exists already")
        metadata = new["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", timestamp(self.clock()))
        metadata.setdefault("generation", 1)
        self.namespaces.add(metadata["namespace"])
        return self.put(new)

    def put(self, pod: Json) -> Json:
        """Store ``pod`` (which the store owns from now on) under a new resourceVersion."""
        before = self.pods.get(key_of(pod))
        pod["metadata"] = ordered(pod["metadata"] | {"resourceVersion": str(self.next_version())})
        self.pods[key_of(pod)] = pod
        self._changed(Change(self.version, before, pod))
        return pod

    def replace(self, pod: Mapping[str, Any]) -> Json:
        """Store a copy of ``pod`` in place of the one of that name.

        Raises:
            KeyError: There is none.
        """
        if key_of(pod) not in self.pods:
            raise KeyError(key_of(pod))
        return self.put(copy.deepcopy(dict(pod)))

    def edit(self, namespace: str, name: str, change: Callable[[Json], None]) -> Json:
        """Change a copy of the pod in place and store it."""
        pod = copy.deepcopy(self.pods[namespace, name])
        change(pod)
        return self.put(pod)

    def terminate(self, namespace: str, name: str, grace_s: int) -> Json:
        """The graceful deletion begins: the pod stays, with ``deletionTimestamp``."""

        def mark(pod: Json) -> None:
            metadata = pod["metadata"]
            if "deletionTimestamp" not in metadata:
                metadata["generation"] = metadata.get("generation", 1) + 1
            metadata["deletionTimestamp"] = timestamp(self.clock() + grace_s)
            metadata["deletionGracePeriodSeconds"] = grace_s

        return self.edit(namespace, name, mark)

    def remove(self, namespace: str, name: str) -> None:
        """The pod is gone."""
        before = self.pods.pop((namespace, name))
        self._changed(Change(self.next_version(), before, None))

    def pods_at(self, version: int) -> dict[Key, Json]:
        """All pods as they were at ``version``, which must not be older than ``oldest``."""
        pods = dict(self.pods)
        for change in reversed(self.history):
            if change.version <= version:
                break
            key = key_of(change.before or change.after or {})
            if change.before is None:
                del pods[key]
            else:
                pods[key] = change.before
        return pods

    # ------------------------------------------------------------------------------------ versions

    def next_version(self) -> int:
        """A new resourceVersion, shared by everything that is stored."""
        self.version += 1
        return self.version

    def forget_history(self) -> None:
        """Compaction, or a new watch cache: watches can start from the present version only."""
        self.history.clear()
        self.oldest = self.version

    def rewind(self, versions: int) -> None:
        """Set the counter back, as etcd restored from a backup does; the objects stay."""
        self.version -= versions
        self.forget_history()
        for key, pod in self.pods.items():
            if int(pod["metadata"]["resourceVersion"]) > self.version:
                metadata = pod["metadata"] | {"resourceVersion": str(self.version)}
                self.pods[key] = pod | {"metadata": metadata}

    def _changed(self, change: Change) -> None:
        self.history.append(change)
        if len(self.history) > self.history_limit:
            del self.history[: self.history_limit // 2]
            self.oldest = self.history[0].version - 1
        for tell in tuple(self.on_change):
            tell(change)

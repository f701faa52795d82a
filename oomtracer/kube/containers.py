"""The containers of a pod: their names from its spec, their ids from its status."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from oomtracer.kube.fields import list_of, object_of, text_of

# What a pod's owner writes may not cost us memory without end; the kubelet runs far fewer in a pod.
_MAX_CONTAINERS: Final = 1000

CONTAINER_KINDS: Final = ("initContainers", "containers", "ephemeralContainers")
_IN_STATUS: Final = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def container_names(spec: Mapping[str, object], kinds: Sequence[str] = CONTAINER_KINDS) -> tuple[str, ...]:
    """The names of the containers of these kinds, of all of them in the order init, ordinary, ephemeral."""
    names = [text_of(container.get("name")) for container in _entries(spec, kinds)]
    return tuple([sys.intern(name) for name in names if name])


def container_ids(status: Mapping[str, object]) -> dict[str, str]:
    """Container id to name: of those that run, that ended and are shown so, and that ran before those.

    A killed container that was restarted since is only in ``lastState``.
    """
    ids: dict[str, str] = {}
    for container in _entries(status, _IN_STATUS):
        name = text_of(container.get("name"))
        for each in (container, _ended(container, "state"), _ended(container, "lastState")):
            container_id = _bare(text_of(each.get("containerID")))
            if container_id and name:
                ids.setdefault(container_id, sys.intern(name))
    return ids


def _entries(parent: Mapping[str, object], keys: Sequence[str]) -> Iterator[Mapping[str, object]]:
    for key in keys:
        for entry in list_of(parent.get(key))[:_MAX_CONTAINERS]:
            yield object_of(entry)


def _ended(container: Mapping[str, object], state: str) -> Mapping[str, object]:
    return object_of(object_of(container.get(state)).get("terminated"))


def _bare(container_id: str) -> str:
    # <runtime>://<id>: containerd, cri-o, docker and whatever comes.
    return container_id.rpartition("://")[2]

"""The walk from the root to the leaf: which pod and container a path lies in.

The state is the realm: who made the cgroups below the level just read, thus which names are believed
there. Each realm is a row of rules; the first rule that knows the name gives the next place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import pairwise
from typing import Final

from oomtracer.cgroups.names import (
    Container,
    container_of,
    is_kubepods,
    is_qos,
    is_service_manager,
    pod_of,
    split_colons,
)
from oomtracer.events import LimitOwner, Runtime


class Realm(Enum):
    """Who made the cgroups below a level."""

    HOST = auto()
    """Root: systemd, the kubelet, the container daemons."""
    NODE = auto()
    """A container that may be a Kubernetes node."""
    USER = auto()
    """An unprivileged user's service manager."""
    POD = auto()
    """The kubelet's runtime: the container, the sandbox, conmon."""
    WORKLOAD = auto()
    """The workload itself: nothing below may be believed."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is known after some levels. ``owner`` is ``None`` where the last one's name says nothing."""

    realm: Realm = Realm.HOST
    owner: LimitOwner | None = None
    in_pod: bool = False
    pod_uid: str | None = None
    container_id: str | None = None
    runtime: Runtime | None = None


def place_of(levels: Sequence[str]) -> Place:
    """Where the leaf of a path, given as its levels from the root, lies."""
    place = Place()
    for parent, name in pairwise(("", *levels)):
        place = next(following for rule in _RULES[place.realm] if (following := rule(place, parent, name)))
    return place


def _kubepods(place: Place, _parent: str, name: str) -> Place | None:
    if is_kubepods(name):
        return replace(place, owner=LimitOwner.KUBEPODS)
    if is_qos(name, below_kubepods=place.owner is LimitOwner.KUBEPODS):
        return replace(place, owner=LimitOwner.QOS)
    return None


def _pod(place: Place, _parent: str, name: str) -> Place | None:
    below_kubepods = place.owner in (LimitOwner.KUBEPODS, LimitOwner.QOS)
    if (pod := pod_of(name, below_kubepods=below_kubepods)) is None:
        return None
    # A fresh place: the container above, if any, is the node.
    return Place(Realm.POD, LimitOwner.POD, in_pod=True, pod_uid=pod.uid)


def _pod_with_colons(place: Place, parent: str, name: str) -> Place | None:
    if (parts := split_colons(name)) and (pod := _pod(place, parent, parts[0])):
        return _pod_child(pod, *parts)
    return None


def _container_with_colons(place: Place, _parent: str, name: str) -> Place | None:
    parts = split_colons(name)
    return _sealed_container(place, *parts) if parts else None


def _container(place: Place, parent: str, name: str) -> Place | None:
    if (container := container_of(name, parent=parent)) is None:
        return None
    return _entered(place, container, Realm.NODE if container.may_be_node else Realm.WORKLOAD)


def _sealed_container(place: Place, parent: str, name: str) -> Place | None:
    container = container_of(name, parent=parent)
    return _entered(place, container, Realm.WORKLOAD) if container else None


def _entered(place: Place, container: Container, realm: Realm) -> Place:
    return replace(
        place,
        realm=realm,
        owner=LimitOwner.CONTAINER,
        container_id=container.id,
        runtime=container.runtime,
    )


def _service_manager(place: Place, _parent: str, name: str) -> Place | None:
    if not is_service_manager(name):
        return None
    if place.realm is Realm.NODE:
        return replace(place, realm=Realm.WORKLOAD, owner=LimitOwner.CONTAINER)
    return replace(place, realm=Realm.USER, owner=None)


def _pod_child(place: Place, parent: str, name: str) -> Place:
    # What is no container here is a helper (conmon) or the pod's own doing. A limit there is told as a
    # container's: moving the pod would not lift it.
    return _sealed_container(place, parent, name) or _inside(place, parent, name)


def _inside(place: Place, _parent: str, _name: str) -> Place:
    realm = Realm.WORKLOAD if place.realm is Realm.POD else place.realm
    return replace(place, realm=realm, owner=LimitOwner.CONTAINER)


def _unknown(place: Place, _parent: str, _name: str) -> Place:
    return replace(place, owner=None)


_KUBERNETES: Final = (_kubepods, _pod, _pod_with_colons)
_RULES: Final[dict[Realm, tuple[Callable[[Place, str, str], Place | None], ...]]] = {
    Realm.HOST: (*_KUBERNETES, _container_with_colons, _container, _service_manager, _unknown),
    Realm.NODE: (*_KUBERNETES, _service_manager, _inside),
    Realm.USER: (_sealed_container, _unknown),
    Realm.POD: (_pod_child,),
    Realm.WORKLOAD: (_inside,),
}

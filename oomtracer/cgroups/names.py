"""What one level's name says, with no regard to where it stands. ``place`` decides what to believe.

Sources: the kubelet's ``pkg/kubelet/cm`` (``cgroup_manager_linux.go``, ``qos_container_manager_linux.go``,
``pod_container_manager_linux.go``) for pods; runc's and crun's systemd cgroup managers for scopes
(``<prefix>-<id>.scope`` out of the OCI path ``slice:prefix:id``); each runtime for its prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from oomtracer.events import CUT, Runtime

_RUNTIMES: Final = {
    "cri-containerd": Runtime.CONTAINERD,
    "nerdctl": Runtime.CONTAINERD,
    "crio": Runtime.CRIO,
    "docker": Runtime.DOCKER,
    "libpod": Runtime.PODMAN,
    "libpod-payload": Runtime.PODMAN,
}
# Kubernetes' own runtimes never run a node, so no pod is believed inside cri-containerd- and crio-.
_NODE_PREFIXES: Final = frozenset({"docker", "libpod", "libpod-payload", "nerdctl"})
_LXC_PARENTS: Final = frozenset({"lxc", "lxc.payload"})

_QOS: Final = "(?:burstable|besteffort)"
_KUBEPODS = re.compile(r"(?:.+-)?kubepods\.slice|kubepods")
_QOS_SLICE = re.compile(rf"(?:.+-)?kubepods-{_QOS}\.slice")
_QOS_DIRECTORY = re.compile(_QOS)
_POD_SLICE = re.compile(rf"(?:.+-)?kubepods(?:-{_QOS})?-pod(?P<uid>[0-9A-Za-z_.]+)\.slice")
_POD_SLICE_CUT = re.compile(rf"(?:.+-)?kubepods(?:-{_QOS})?-pod[^:]*{CUT}")
_POD_DIRECTORY = re.compile(r"pod(?P<uid>[0-9A-Za-z][0-9A-Za-z_.-]*)")
_API_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_FULL_ID: Final = "[0-9a-f]{64}"
_BARE_CONTAINER = re.compile(_FULL_ID)
# A cut name keeps the front of its id: 46 of 64 digits in the longest real form, the one with colons.
_CONTAINER = re.compile(
    rf"(?P<prefix>[A-Za-z][\w.-]*)-(?:(?P<id>{_FULL_ID})(?:\.scope)?|(?P<front>[0-9a-f]{{12,64}}){CUT})",
    re.ASCII,
)
_LXC = re.compile(r"(?:lxc\.payload\.)?(?P<id>[\w.@:-]+)", re.ASCII)
_SERVICE_MANAGER = re.compile(r"(?:user|capsule)@.*\.service")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's level. ``uid`` has its dashes back; ``None``: the name was cut inside it."""

    uid: str | None


@dataclass(frozen=True, slots=True)
class Container:
    """A container's level. ``id`` is shorter than 64 digits where the recorder cut the name."""

    id: str
    runtime: Runtime | None
    may_be_node: bool
    """Docker, Podman, nerdctl and LXC containers can be Kubernetes nodes (kind, k3d, minikube)."""


def is_kubepods(name: str) -> bool:
    """Whether this is the kubelet's root: ``--cgroup-root`` puts a prefix in front (kind: ``kubelet-``)."""
    return _KUBEPODS.fullmatch(name) is not None


def is_qos(name: str, *, below_kubepods: bool) -> bool:
    """Whether this is the level of a quality-of-service class; guaranteed pods have none."""
    return _QOS_SLICE.fullmatch(name) is not None or (
        below_kubepods and _QOS_DIRECTORY.fullmatch(name) is not None
    )


def pod_of(name: str, *, below_kubepods: bool) -> Pod | None:
    """The pod of a level made by the kubelet's systemd or cgroupfs driver.

    systemd's ``-`` separates slices, so that driver writes the uid with ``_``. The cgroupfs driver's
    plain ``pod<uid>`` says something only directly below ``kubepods`` or a class.
    """
    if match := _POD_SLICE.fullmatch(name):
        return Pod(match["uid"].replace("_", "-"))
    if _POD_SLICE_CUT.fullmatch(name):
        return Pod(None)
    match = _POD_DIRECTORY.fullmatch(name) if below_kubepods else None
    return Pod(match["uid"]) if match else None


def is_static(uid: str | None) -> bool | None:
    """Whether a pod comes from a manifest on the node: the API server's own uids are always UUIDs.

    The kubelet (``pkg/kubelet/config/common.go``) gives static pods an MD5 sum, 32 hex digits, unless
    the manifest sets a uid itself; one that looks like a UUID cannot be told apart. ``None``: uid unknown.
    """
    return None if uid is None else _API_UID.fullmatch(uid) is None


def split_colons(name: str) -> tuple[str, str] | None:
    """``(slice, scope)`` of a name like ``kubepods-pod1.slice:cri-containerd:<id>``, else ``None``.

    That is the OCI path of the systemd driver taken for a directory: the kubelet says systemd, the
    runtime was left at cgroupfs (containerd without ``SystemdCgroup = true``).
    """
    parent, colon, rest = name.partition(":")
    if not colon or not parent.endswith(".slice"):
        return None
    return parent, rest.replace(":", "-", 1)


def container_of(name: str, *, parent: str) -> Container | None:
    """The container of a level, by the runtime's prefix, by a bare id, or by LXC's directories."""
    if parent in _LXC_PARENTS or name.startswith("lxc.payload."):
        match = _LXC.fullmatch(name)
        return Container(match["id"], None, may_be_node=True) if match else None
    if _BARE_CONTAINER.fullmatch(name):
        return _bare_container(name, parent)
    match = _CONTAINER.fullmatch(name)
    # conmon watches a container from outside it: crio-conmon-<id>.scope, libpod-conmon-<id>.scope.
    if match is None or match["prefix"].endswith("conmon"):
        return None
    prefix = match["prefix"]
    return Container(match["id"] or match["front"], _RUNTIMES.get(prefix), prefix in _NODE_PREFIXES)


def is_service_manager(name: str) -> bool:
    """Whether an unprivileged user's own systemd rules below (``user@.service``, ``capsule@.service``)."""
    return _SERVICE_MANAGER.fullmatch(name) is not None


def _bare_container(name: str, parent: str) -> Container | None:
    # Podman's cgroupfs driver puts a Podman pod between libpod_parent and libpod-<id>.
    if parent == "libpod_parent":
        return None
    docker = parent == "docker"
    return Container(name, Runtime.DOCKER if docker else None, may_be_node=docker)

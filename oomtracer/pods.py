"""What the API server says of the pods of this node: frozen data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from oomtracer.events import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The part of a pod that attribution, policy and delivery need; nothing else of it is kept.

    ``annotations`` and ``labels`` hold only the keys that somebody here asks for (the marks, the opt-outs),
    with values cut to 1,024 characters.
    """

    uid: str
    """``metadata.uid``: of the API object, for a static pod not the one in cgroup paths."""
    namespace: str
    name: str
    config_hash: str | None
    """The uid in the cgroup paths of a static pod: ``kubernetes.io/config.mirror`` of one that its node owns.

    ``config.hash`` says the same, but whoever may patch the pod can change it.
    """
    is_mirror: bool
    """Whether it mirrors a manifest on the node (``kubernetes.io/config.mirror``): a static pod."""
    created_s: float
    """Unix time of ``metadata.creationTimestamp``; 0.0 where that is missing."""
    phase: str
    """``Pending``, ``Running``, ``Succeeded``, ``Failed`` or ``Unknown``."""
    is_terminating: bool
    """Whether ``metadata.deletionTimestamp`` is set."""
    priority: int
    """``spec.priority``, 0 where it is not set."""
    controller: Owner | None
    """The controlling owner as the pod names it (kind ``ReplicaSet``); None for a bare pod."""
    owner: Owner | None
    """The same as people know it: a ReplicaSet is told as its Deployment or Rollout."""
    containers: tuple[str, ...]
    """The names in the spec: init containers, containers, ephemeral containers."""
    init_containers: tuple[str, ...] = ()
    """Those of them under ``spec.initContainers``."""
    ephemeral_containers: tuple[str, ...] = ()
    """Those of them under ``spec.ephemeralContainers``."""
    container_ids: Mapping[str, str]
    """Id without ``containerd://`` to container name: running, waiting and last states of them all."""
    shares_pid_namespace: bool
    """Among its containers or with the host: process 1 of it is none of a container."""
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    resource_version: int = field(default=0, compare=False)
    """``metadata.resourceVersion``; pods that differ in nothing else are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentity:
    """Which pod and container a cgroup belongs to. ``container`` is None until its id is known."""

    pod: Pod
    container: str | None

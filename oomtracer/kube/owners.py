"""Who controls a pod, as the pod's metadata tells it; nothing else is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from oomtracer.events import Owner
from oomtracer.kube.fields import list_of, object_of, text_of

TEMPLATE_HASHES: Final = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}
"""The label that holds the hash of a ReplicaSet's name, and the kind of who made that ReplicaSet."""


def controller_of(metadata: Mapping[str, object]) -> Owner | None:
    """The owner reference that says ``controller: true``; None for a bare pod."""
    for entry in list_of(metadata.get("ownerReferences")):
        reference = object_of(entry)
        if reference.get("controller") is True:
            kind, name = text_of(reference.get("kind")), text_of(reference.get("name"))
            return Owner(kind=sys.intern(kind), name=sys.intern(name))
    return None


def is_mirror_owner(controller: Owner | None) -> bool:
    """Whether a mirror pod may have this controller: the node, which every kubelet since 1.17 makes the owner.

    The API server takes mirror pods without it from no kubelet. Others may claim the same owner only if they know
    the node's uid: where that is wrong, the garbage collector deletes their pod.
    """
    return controller is not None and controller.kind == "Node"


def owner_of(controller: Owner | None, labels: Mapping[str, object]) -> Owner | None:
    """The controller as people know it: a Deployment's ReplicaSet is told as the Deployment, a Rollout's likewise.

    Their controllers name a ReplicaSet ``<deployment>-<hash>`` and label its pods with that hash. Where the label
    is missing or the name ends otherwise, the ReplicaSet is somebody else's or nobody's. (A CronJob's Job stays the
    Job: each run is one of its own.)
    """
    if controller is None or controller.kind != "ReplicaSet":
        return controller
    for label, kind in TEMPLATE_HASHES.items():
        template_hash = text_of(labels.get(label))
        name = controller.name.removesuffix(f"-{template_hash}")
        if template_hash and name not in {"", controller.name}:
            return Owner(kind=kind, name=sys.intern(name))
    return controller

"""Who controls a pod, as the pod's metadata tells it; nothing else is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from oomtracer.events import Owner
from oomtracer.kube.fields import list_of, object_of, text_of

TEMPLATE_HASH: Final = "pod-template-hash"


def controller_of(metadata: Mapping[str, object]) -> Owner | None:
    """The owner reference that says ``controller: true``; None for a bare pod."""
    for entry in list_of(metadata.get("ownerReferences")):
        reference = object_of(entry)
        if reference.get("controller") is True:
            kind, name = text_of(reference.get("kind")), text_of(reference.get("name"))
            return Owner(kind=sys.intern(kind), name=sys.intern(name))
    return None


def owner_of(controller: Owner | None, labels: Mapping[str, object]) -> Owner | None:
    """The controller as people know it: a Deployment's ReplicaSet is told as the Deployment.

    The deployment controller names a ReplicaSet ``<deployment>-<hash>`` and labels its pods with that hash.
    Where the label is missing or the name ends otherwise, the ReplicaSet is somebody else's or nobody's.
    """
    if controller is None or controller.kind != "ReplicaSet":
        return controller
    template_hash = text_of(labels.get(TEMPLATE_HASH))
    name = controller.name.removesuffix(f"-{template_hash}")
    if not template_hash or name in {"", controller.name}:
        return controller
    return Owner(kind="Deployment", name=sys.intern(name))

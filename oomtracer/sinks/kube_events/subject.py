"""What an Event is about: the pod that lost a process, or the node, as ``kubectl describe`` looks for them."""

from __future__ import annotations

from oomtracer.events import Workload
from oomtracer.kube.event import Regarding
from oomtracer.pods import Pod


def pod_subject(workload: Workload, pod: Pod | None) -> Regarding | None:
    """The victim's pod; None where its name or uid is not known.

    For a static pod the uid is the kubelet's, which is not that of the API object: ``kubectl describe`` looks for
    the annotation ``kubernetes.io/config.mirror``, to which the kubelet copies ``kubernetes.io/config.hash``.
    """
    namespace = pod.namespace if pod else workload.namespace
    name = pod.name if pod else workload.pod
    uid = _uid(pod) if pod else workload.pod_uid
    if not (namespace and name and uid):
        return None
    return Regarding(kind="Pod", namespace=namespace, name=name, uid=uid)


def node_subject(node: str) -> Regarding:
    """The node; its name for the uid is the kubelet's custom, and ``kubectl describe`` looks for both."""
    return Regarding(kind="Node", name=node, uid=node)


def field_path(container: str | None, pod: Pod | None) -> str | None:
    """The part of the pod that a container is, as the kubelet writes it in its own Events."""
    if container is None:
        return None
    if pod and container in pod.init_containers:
        return f"spec.initContainers{{{container}}}"
    if pod and container in pod.ephemeral_containers:
        return f"spec.ephemeralContainers{{{container}}}"
    return f"spec.containers{{{container}}}"


def _uid(pod: Pod) -> str:
    return pod.config_hash if pod.is_mirror and pod.config_hash else pod.uid

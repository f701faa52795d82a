r"""Whose cgroup is this? A path as the kernel prints it becomes a ``Workload``: pure functions, no I/O.

A path is read from the root, and each level is believed only as far as whoever made it can be trusted:

    made by                            what may be read below it
    the host (slices, services)        Kubernetes levels, containers, user managers
    a container that may be a node     Kubernetes levels (kind, k3d, minikube, LXC); all else is its own
    a user's service manager           one container (rootless Podman, Docker); never a pod
    the kubelet (a pod's level)        the pod's container, directly below
    any other container                nothing: everything deeper belongs to that container

So the first pod on the way down is the pod, and no container inside it can be taken for another, whatever
cgroups it nests (writable cgroups in unprivileged pods are real: cri-o#5277, containerd#10924). The
systemd unit is found apart from that, by systemd's own rule: the first unit below the leading slices.
"""

from __future__ import annotations

from oomtracer.cgroups.attribution import is_selftest, limit_owner, workload_of
from oomtracer.cgroups.labels import unit_label

__all__ = ["is_selftest", "limit_owner", "unit_label", "workload_of"]

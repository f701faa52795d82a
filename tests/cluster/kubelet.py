"""Pods as the kubelet makes them: real memory cgroups under its names, known to the fake API server."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.kernel.conftest import MIB, Cgroup
from tests.kube.apiserver import container_id_of, make_pod

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kube.apiserver import ThreadedApiServer

NODE = "node-a"
NAMESPACE = "shop"
# A ReplicaSet's hash, which its pods carry as a label.
TEMPLATE_HASH = "7d4b9c6f5d"
LIMIT_BYTES = 8 * MIB
"""Of a container, where a test asks for none; victims grow far beyond."""


def levels_of(driver: str, qos: str, uid: str, container_id: str, *, root: str = "") -> dict[str, str]:
    """The paths of a container and of all that is above it, by whose limit each is, the root's side first.

    ``root`` is a name for the kubelet's ``--cgroup-root``. Source: pkg/kubelet/cm of Kubernetes and the systemd
    cgroup manager of runc. Pods of the class guaranteed are directly below ``kubepods``.
    """
    if driver == "cgroupfs":
        path = f"/{root}" if root else ""
        names = {"kubepods": "kubepods", "qos": qos, "pod": f"pod{uid}", "container": container_id}
    else:
        path = f"/{root}.slice" if root else ""
        top = f"{root}-kubepods" if root else "kubepods"
        of_class = top if qos == "guaranteed" else f"{top}-{qos}"
        names = {
            "kubepods": f"{top}.slice",
            "qos": f"{of_class}.slice",
            "pod": f"{of_class}-pod{uid.replace('-', '_')}.slice",
            "container": f"cri-containerd-{container_id}.scope",
        }
    if qos == "guaranteed":
        del names["qos"]
    paths = {}
    for owner, name in names.items():
        path = f"{path}/{name}"
        paths[owner] = path
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPod:
    """A pod with one running container."""

    namespace: str
    name: str
    uid: str
    """As the cgroup's name has it."""
    container: str
    container_id: str
    cgroup: Cgroup
    """The container's."""

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its container's series."""
        return {"namespace": self.namespace, "pod": self.name, "container": self.container}


class Kubelet:
    """Starts pods, and kills in them.

    Where there are pods' cgroups already, it has a ``--cgroup-root`` of its own.
    """

    def __init__(self, make_cgroup: CgroupMaker, grow: Grow, victim: str) -> None:
        self._make_cgroup = make_cgroup
        self._grow = grow
        self._victim = victim
        # A limit on the pods of somebody else would kill there.
        others = any((Cgroup.root / name).exists() for name in ("kubepods", "kubepods.slice"))
        self._root = "oomtracer" if others else ""

    def start(
        self,
        api: ThreadedApiServer,
        name: str,
        *,
        driver: str = "cgroupfs",
        qos: str = "burstable",
        limits_bytes: Mapping[str, int] | None = None,
        **pod: Any,
    ) -> RunningPod:
        """Create a pod that has run for an hour, by default with a small limit on its container.

        ``pod`` goes to ``make_pod``.
        """
        running = self.make_cgroups(
            pod.pop("uid", None) or str(uuid.uuid4()),
            name,
            driver=driver,
            qos=qos,
            limits_bytes=limits_bytes,
            namespace=pod.pop("namespace", NAMESPACE),
        )
        pod = {
            "owner": ("ReplicaSet", f"{name}-{TEMPLATE_HASH}"),
            "labels": {"app": name, "pod-template-hash": TEMPLATE_HASH},
        } | pod
        api.add_pod(make_pod(name, namespace=running.namespace, uid=running.uid, node=NODE, **pod))
        return running

    def make_cgroups(
        self,
        uid: str,
        name: str,
        *,
        driver: str = "cgroupfs",
        qos: str = "burstable",
        limits_bytes: Mapping[str, int] | None = None,
        namespace: str = NAMESPACE,
    ) -> RunningPod:
        """Make the cgroups alone; what the API server knows is for the test to say."""
        container_id = container_id_of(uid, "app")
        paths = levels_of(driver, qos, uid, container_id, root=self._root)
        for owner, path in paths.items():
            cgroup = self._make_cgroup(path)
            limit_bytes = ({"container": LIMIT_BYTES} if limits_bytes is None else limits_bytes).get(owner)
            if limit_bytes is not None:
                cgroup.limit(limit_bytes)
        return RunningPod(
            namespace=namespace,
            name=name,
            uid=uid,
            container="app",
            container_id=container_id,
            cgroup=cgroup,
        )

    def kill(self, pod: RunningPod, *name: str) -> int:
        """Let a process grow in the pod's container until it is killed; its process id."""
        return self._grow(pod.cgroup, "grow", 64 * MIB, *name)

    def kill_process_one(self, pod: RunningPod) -> None:
        """Let process 1 of a pid namespace of its own grow in the pod's container until it is killed."""
        with self._grow.start(pod.cgroup, "init", 64 * MIB) as parent:
            assert parent.wait(30) == 0

    def start_silent_kill(self, pod: RunningPod) -> subprocess.Popen[bytes]:
        """Let process 1 of a pid namespace of its own lose a child in the pod's container, and survive."""
        grown_bytes = str(4 * LIMIT_BYTES)
        command = ["unshare", "--pid", "--fork", self._victim, pod.cgroup.procs, "storm", grown_bytes, "1"]
        return subprocess.Popen(command)

    def start_loop(self, pod: RunningPod, count: int) -> subprocess.Popen[str]:
        """Let so many processes grow in the pod's container, one after the other, each until it is killed."""
        return self._grow.start(pod.cgroup, "storm", 4 * LIMIT_BYTES, str(count))

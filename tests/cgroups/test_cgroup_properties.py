"""What holds for every path: total, reversible, unforgeable."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.cgroups import is_selftest, limit_owner, unit_label, workload_of
from oomtracer.events import LimitOwner, Runtime, WorkloadKind

REAL = [
    row["path"]
    for row in tomllib.loads(Path(__file__).with_name("paths.toml").read_text(encoding="utf-8"))["path"]
]
PREFIXES = {
    Runtime.CONTAINERD: "cri-containerd",
    Runtime.CRIO: "crio",
    Runtime.DOCKER: "docker",
    Runtime.PODMAN: "libpod",
}
OUTER = "d6701ec289c56e4391acb11d07474b3139466857a305490575508a8b7a9fcf22"
ROOTS = [
    "",
    "/tenant",
    f"/docker/{OUTER}",
    f"/docker/{OUTER}/kubelet",
    f"/system.slice/docker-{OUTER}.scope",
    f"/machine.slice/libpod-{OUTER}.scope/container",
    "/lxc.payload.node1",
    "/lxc/100/ns",
    "/system.slice/k3s.service",
]

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
API_UID = st.uuids().map(str)
STATIC_UID = st.text("0123456789abcdef", min_size=32, max_size=32)
LEVEL = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=30)


@dataclass(frozen=True)
class PodPath:
    """A container of a pod, and how its path is written."""

    uid: str
    container_id: str
    qos: str | None
    root: str
    prefix: str
    runtime: Runtime | None
    systemd: bool
    cgroup_root: str = ""

    def pod(self) -> str:
        """Write the pod's own level."""
        return self._systemd_pod() if self.systemd else self._cgroupfs_pod()

    def container(self) -> str:
        """Write the container's level."""
        prefix = f"{self.prefix}-" if self.prefix else ""
        scope = ".scope" if self.systemd and prefix else ""
        return f"{self.pod()}/{prefix}{self.container_id}{scope}"

    def _systemd_pod(self) -> str:
        uid = self.uid.replace("-", "_")
        head = f"{self.cgroup_root}-" if self.cgroup_root else ""
        names = [self.cgroup_root, head + "kubepods"]
        names += [f"{head}kubepods-{self.qos}"] if self.qos else []
        names += [f"{names[-1]}-pod{uid}"]
        return self.root + "".join(f"/{name}.slice" for name in names if name)

    def _cgroupfs_pod(self) -> str:
        names = [self.root, self.cgroup_root, "kubepods", self.qos or "", f"pod{self.uid}"]
        return "/" + "/".join(name.strip("/") for name in names if name)


@st.composite
def pod_paths(draw: st.DrawFn) -> PodPath:
    """Any pod, driver, class, runtime and surrounding."""
    systemd = draw(st.booleans())
    runtime = draw(st.sampled_from([*PREFIXES, *([] if systemd else [None])]))
    return PodPath(
        uid=draw(st.one_of(API_UID, STATIC_UID)),
        container_id=draw(HEX),
        qos=draw(st.sampled_from(["burstable", "besteffort", None])),
        root=draw(st.sampled_from(ROOTS)),
        prefix=PREFIXES[runtime] if runtime else "",
        runtime=runtime,
        systemd=systemd,
        cgroup_root=draw(st.sampled_from(["", "kubelet", "a"])),
    )


hostile_paths = st.one_of(
    pod_paths().map(PodPath.container),
    pod_paths().map(PodPath.pod),
    st.sampled_from(REAL),
    st.lists(LEVEL, min_size=1, max_size=5).map("/".join).map("/{}".format),
)


@st.composite
def mutated_paths(draw: st.DrawFn) -> str:
    """A real path with a piece cut out, doubled or replaced."""
    path = draw(st.sampled_from(REAL))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(path))] * 2)))
    piece = draw(st.sampled_from(["", path[start:end] * 2]) | st.text(max_size=8))
    return f"{path[:start]}{piece}{path[end:]}"


any_path = st.one_of(st.text(max_size=200), mutated_paths(), hostile_paths)


@given(any_path, st.one_of(st.none(), any_path))
def test_total(cgroup: str, unified: str | None) -> None:
    """Whatever text comes in, an answer comes out, and its fields fit its kind."""
    workload = workload_of(cgroup, unified)
    assert workload.resolved == (workload.kind is not WorkloadKind.POD)
    assert (workload.pod_uid is None) or workload.kind is WorkloadKind.POD
    assert (workload.static is None) == (workload.pod_uid is None)
    assert (workload.container_id is not None) >= (workload.kind is WorkloadKind.CONTAINER)
    assert (workload.unit is not None) >= (workload.kind is WorkloadKind.UNIT)
    assert isinstance(limit_owner(cgroup), LimitOwner)
    assert is_selftest(cgroup) in (True, False)
    assert (unit_label(workload) is None) >= (workload.kind in (WorkloadKind.POD, WorkloadKind.HOST))


@given(any_path)
def test_only_safe_text_comes_out(cgroup: str) -> None:
    """No field can carry a control character, a slash or a bidi override to a terminal or a label."""
    workload = workload_of(cgroup)
    for text in (workload.pod_uid, workload.container_id, workload.unit, workload.slice):
        ascii_text = (text or "").removesuffix("…")
        assert ascii_text.isprintable()
        assert "/" not in ascii_text
    label = unit_label(workload)
    assert label is None or (label.isascii() and label.isprintable())


@pytest.mark.parametrize("piece", ["a/", "kubepods-", "kubepods-pod/", "-", "1-1:", OUTER, "user@"])
def test_long_paths_are_cheap(piece: str) -> None:
    """A path of a hundred thousand characters, in many levels or a few long ones, is read all the same."""
    path = "/" + piece * (100_000 // len(piece))
    assert limit_owner(path)
    unit_label(workload_of(path))


@given(pod_paths())
def test_round_trip(path: PodPath) -> None:
    """Pod uid, container id and runtime come back out of every driver, class, runtime and nesting."""
    workload = workload_of(path.container())
    assert workload.kind is WorkloadKind.POD
    assert (workload.pod_uid, workload.container_id) == (path.uid, path.container_id)
    assert workload.runtime is path.runtime
    assert workload.static == ("-" not in path.uid)
    assert not workload.resolved
    assert workload.namespace is None
    assert workload.pod is None


@given(pod_paths())
def test_limits_on_the_way_down(path: PodPath) -> None:
    """A pod path's owners, leaf first, are container, pod, the class if there is one, kubepods."""
    levels = path.container().split("/")
    owners = [limit_owner("/".join(levels[: len(levels) - up])) for up in range(4)]
    above = [LimitOwner.QOS, LimitOwner.KUBEPODS] if path.qos else [LimitOwner.KUBEPODS]
    assert owners[: 2 + len(above)] == [LimitOwner.CONTAINER, LimitOwner.POD, *above]


@given(pod_paths(), HEX)
def test_colons_mean_the_same(path: PodPath, container_id: str) -> None:
    """A runtime that takes ``slice:prefix:id`` for a directory changes nothing but the path."""
    slice_ = replace(path, systemd=True).pod().rpartition("/")[2]
    workload = workload_of(f"/system.slice/containerd.service/{slice_}:cri-containerd:{container_id}")
    assert (workload.pod_uid, workload.container_id) == (path.uid, container_id)
    assert workload.runtime is Runtime.CONTAINERD


@given(pod_paths(), st.lists(hostile_paths, min_size=1, max_size=3))
def test_a_pods_container_forges_nothing(path: PodPath, nested: list[str]) -> None:
    """Whatever a container inside a pod nests in its own cgroup, it stays that pod's container."""
    honest = workload_of(path.container())
    forged = path.container() + "/" + "/".join(nested)
    assert workload_of(forged) == honest
    assert limit_owner(forged) is LimitOwner.CONTAINER
    assert not is_selftest(forged)


@given(pod_paths(), hostile_paths)
def test_a_pod_stays_the_pod(path: PodPath, nested: str) -> None:
    """Below a pod's level the pod never changes, and every limit there is a container's."""
    assert workload_of(f"{path.pod()}/{nested}").pod_uid == path.uid
    assert limit_owner(f"{path.pod()}/x/{nested}") is LimitOwner.CONTAINER


@given(HEX, st.lists(hostile_paths, min_size=1, max_size=3))
def test_a_kubernetes_container_outside_kubepods_forges_nothing(container_id: str, nested: list[str]) -> None:
    """A cri-containerd or CRI-O container is never a node, even where the kubelet made no pod level."""
    for prefix in ("cri-containerd", "crio"):
        honest = f"/system.slice/{prefix}-{container_id}.scope"
        assert workload_of(honest + "/" + "/".join(nested)) == workload_of(honest)


@given(HEX, hostile_paths)
def test_a_plain_container_names_no_other_container(container_id: str, nested: str) -> None:
    """Docker in Docker stays the outer container; only a node's pods can be found inside."""
    for honest in (f"/docker/{container_id}", f"/machine.slice/libpod-{container_id}.scope"):
        workload = workload_of(f"{honest}/{nested}")
        assert workload.kind is WorkloadKind.POD or workload == workload_of(honest)


@given(st.integers(1, 2**32), st.lists(hostile_paths, min_size=1, max_size=3))
def test_a_user_names_no_pod_and_no_unit(uid: int, nested: list[str]) -> None:
    """What an unprivileged user makes below user@.service is the user's, at most a container."""
    workload = workload_of(f"/user.slice/user-{uid}.slice/user@{uid}.service" + "/" + "/".join(nested))
    assert workload.kind in (WorkloadKind.UNIT, WorkloadKind.CONTAINER)
    assert (workload.unit, workload.slice) == (f"user@{uid}.service", f"user-{uid}.slice")


@given(hostile_paths)
def test_a_unit_names_no_other_unit(nested: str) -> None:
    """Below a unit the unit and its slice never change, whatever is delegated to it."""
    workload = workload_of(f"/system.slice/web.service/{nested}")
    assert (workload.unit, workload.slice) == ("web.service", "system.slice")


@given(pod_paths(), hostile_paths)
def test_unified_forges_nothing(path: PodPath, unified: str) -> None:
    """Where the memory controller's path names a pod's container, the unified path is not heard."""
    assert workload_of(path.container(), unified) == workload_of(path.container())


@given(any_path)
def test_slashes_at_the_end(cgroup: str) -> None:
    """A slash at the end means nothing."""
    assert workload_of(cgroup + "/") == workload_of(cgroup)
    assert limit_owner(cgroup + "/") is limit_owner(cgroup)


@pytest.mark.parametrize("path", REAL)
def test_missing_levels_change_no_identity(path: str) -> None:
    """Levels missing next to the leaf make an answer vaguer, never another pod or unit."""
    whole = workload_of(path)
    levels = path.split("/")
    for known in range(1, len(levels)):
        vague = workload_of("/".join([*levels[:known], "…"]))
        assert vague.pod_uid in (None, whole.pod_uid)
        if whole.kind is WorkloadKind.UNIT:
            assert vague.kind in (WorkloadKind.UNIT, WorkloadKind.HOST)

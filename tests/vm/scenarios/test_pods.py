"""Whose limit was hit in a kubelet's tree of cgroups: the container's, the pod's, or the one of all pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.test_reports import assert_agrees
from tests.kernel.test_storm import kernel_kills

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog

UID = "01234567-89ab-cdef-0123-456789abcdef"
CONTAINER_ID = "5" * 64
POD_SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
BY_SYSTEMD = (
    "/kubepods.slice",
    "/kubepods.slice/kubepods-burstable.slice",
    POD_SLICE,
    f"{POD_SLICE}/cri-containerd-{CONTAINER_ID}.scope",
)
BY_CGROUPFS = (
    "/kubepods",
    "/kubepods/burstable",
    f"/kubepods/burstable/pod{UID}",
    f"/kubepods/burstable/pod{UID}/{CONTAINER_ID}",
)


@dataclass(frozen=True)
class Limits:
    """The limits of the four levels from the top, in MiB, and which of them is hit."""

    mib: tuple[int | None, ...]
    hit: int
    owner: str


@pytest.mark.parametrize("paths", [BY_SYSTEMD, BY_CGROUPFS], ids=["systemd", "cgroupfs"])
@pytest.mark.parametrize(
    "limits",
    [
        Limits((512, None, 128, 16), 3, "container"),
        Limits((512, None, 16, 128), 2, "pod"),
        Limits((512, 16, 128, None), 1, "qos"),
        Limits((16, None, 128, 512), 0, "kubepods"),
    ],
    ids=lambda limits: limits.owner,
)
def test_whose_limit_was_hit(
    make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, paths: tuple[str, ...], limits: Limits
) -> None:
    """The level that the kernel's log names, certain, told by what it stands for; the victim's pod beside it."""
    for path, mib in zip(paths, limits.mib, strict=True):
        cgroup = make_cgroup(path)
        if mib:
            cgroup.limit(mib * MIB)
    with Agent() as agent:
        before = kernel_kills()
        logged = kernel_log.paced(lambda: grow(cgroup, "grow", 96 * MIB))
        report = agent.report_of(logged.tid)
        agent.stop()
        agent.log.until(f"kills observed: {kernel_kills() - before}, lost: none")
    assert_agrees(report, logged)
    assert report["limit"]["cgroup"] == logged.oom_memcg == paths[limits.hit]
    assert (report["limit"]["owner"], report["limit"]["certain"]) == (limits.owner, True)
    assert (report["workload"]["kind"], report["workload"]["pod_uid"]) == ("pod", UID)
    assert report["workload"]["container_id"] == CONTAINER_ID

"""A ring that fills up: no pod or unit may take the place of another one's kill."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import MIB
from tests.kernel.ring import KIB, unread_ring

if TYPE_CHECKING:
    from tests.kernel.conftest import Cgroup, CgroupMaker, Grow

SHARE = 8  # SHARE_RECORDS, bpf/src/share.bpf.h
# Eleven or twelve records: beyond half of it before one pod has its share.
SMALL_RING_BYTES = 32 * KIB
UID = "01234567-89ab-cdef-0123-456789abcdef"
OTHER_UID = "fedcba98-7654-3210-fedc-ba9876543210"
BURSTABLE = "/oomtracer-test/kubepods/burstable"
SLICE = "/oomtracer-test/kubepods.slice/kubepods-burstable.slice/kubepods-burstable"


def pod(uid: str, container: str) -> str:
    """A container's cgroup as the cgroupfs driver names it."""
    return f"{BURSTABLE}/pod{uid}/{container * 64}"


def pod_slice(uid: str, container: str) -> str:
    """The same by the systemd driver."""
    return f"{SLICE}-pod{uid.replace('-', '_')}.slice/cri-containerd-{container * 64}.scope"


@pytest.fixture
def storm(make_cgroup: CgroupMaker, grow: Grow):
    """Make kills, one after the other, in the cgroup of a path; its cgroup."""

    def kill(path: str, count: int = 1) -> Cgroup:
        cgroup = make_cgroup(path).limit(2 * MIB)
        with grow.start(cgroup, "storm", 4 * MIB, str(count)) as process:
            assert process.wait(60) == 0
        return cgroup

    return kill


@pytest.mark.parametrize("name", [pod, pod_slice])
def test_a_pod_that_dies_in_a_loop_leaves_room(storm, name) -> None:
    """Beyond its share it is left out, counted, and its numbers are a gap; others' kills are in the ring."""
    looping, other, unit = name(UID, "a"), name(OTHER_UID, "b"), "/oomtracer-test/some.service"
    with unread_ring(SMALL_RING_BYTES) as ring:
        storm(looping, 30)
        storm(other)
        storm(unit)
        counted, kills = ring.counted(), ring.take()
    assert [kill.victim.cgroup for kill in kills] == [looping] * SHARE + [other, unit]
    assert [kill.seq for kill in kills] == [*range(1, SHARE + 1), 31, 32]
    assert (counted.over_share, counted.ring_full) == (30 - SHARE, 0)
    assert (counted.attempted, counted.kills) == (32, 32)


@pytest.mark.parametrize("name", [pod, pod_slice])
def test_a_restarted_container_has_no_share_of_its_own(storm, name) -> None:
    """Every restart makes a new cgroup, and cgroups may be nested inside; all of them are the pod's."""
    with unread_ring(SMALL_RING_BYTES) as ring:
        for container in "0123":
            storm(name(UID, container), 2)
            storm(f"{name(UID, container)}/init.scope/pod{OTHER_UID}")
        storm(name(OTHER_UID, "a"))
        counted, kills = ring.counted(), ring.take()
    assert len(kills) == SHARE + 1
    assert f"/{OTHER_UID[:8]}" not in kills[0].victim.cgroup
    assert kills[-1].victim.cgroup == name(OTHER_UID, "a")
    assert counted.over_share == 12 - SHARE


def test_a_restarted_unit_has_its_old_share(storm) -> None:
    """A unit's cgroup is made anew with each start, with the same name; one of another name is another unit."""
    with unread_ring(SMALL_RING_BYTES) as ring:
        for _ in range(SHARE + 2):
            storm("/oomtracer-test/system.slice/looping.service").remove()
        storm("/oomtracer-test/system.slice/other.service")
        storm("/oomtracer-test/user.slice/looping.service")
        names = Counter(kill.victim.cgroup.partition("test/")[2] for kill in ring.take())
        assert ring.counted().over_share == 2
    assert names == {
        "system.slice/looping.service": SHARE,
        "system.slice/other.service": 1,
        "user.slice/looping.service": 1,
    }


def test_what_is_named_like_a_pod_is_none(storm) -> None:
    """Podman's service holds what has nothing to do with each other: each has its share."""
    with unread_ring(SMALL_RING_BYTES) as ring:
        storm("/oomtracer-test/podman.service/one", 7)
        storm("/oomtracer-test/podman.service/two", 2)
        assert len(ring.take()) == 9
        assert ring.counted().over_share == 0


def test_a_ring_that_was_empty_begins_anew(storm) -> None:
    """Shares are of what is unread: after everything was read, there is room for the same pod again."""
    with unread_ring(SMALL_RING_BYTES) as ring:
        for _ in range(2):
            storm(pod(UID, "a"), SHARE + 3)
            assert len(ring.take()) == SHARE
        assert ring.counted().over_share == 6


def test_half_of_the_ring_is_for_everybody(storm) -> None:
    """While there is much room, no kill is left out."""
    with unread_ring(256 * KIB) as ring:
        storm(pod(UID, "a"), 40)
        assert len(ring.take()) == 40
        assert ring.counted().over_share == 0


def test_a_ring_full_of_many_is_full(storm) -> None:
    """Shares make no room where everybody has few; then the ring's own count tells it."""
    with unread_ring(SMALL_RING_BYTES) as ring:
        for number in range(20):
            storm(f"/oomtracer-test/{number}.service")
        counted, kills = ring.counted(), ring.take()
    assert counted.over_share == 0
    assert counted.ring_full == 20 - len(kills) > 0

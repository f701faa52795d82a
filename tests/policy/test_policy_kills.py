"""What the kill alone decides."""

from __future__ import annotations

import pytest

from oomtracer.config import MarkOn
from oomtracer.events import CUT, LimitOwner, Outcome, Workload, WorkloadKind
from oomtracer.policy import Reason
from oomtracer.policy import kills as kill_rules
from tests.unit.builders import CONTAINER, CONTAINER_ID, MIB, POD, POD_UID, QOS, level, victim

from .scenes import (
    HOUR_S,
    KUBEPODS,
    NODE_KILL,
    NOW_S,
    Scene,
    limit_at,
    memcg_report,
    reason,
)

NODE = f"/docker/{CONTAINER_ID}"


def test_a_sharer_of_the_victims_memory_counts_as_killed():
    """A process killed for the memory it shares was killed all the same, and its pod with it."""
    assert Scene().with_report(shared_memory=True).decide() == NODE_KILL
    assert reason(Scene().with_report(outcome=Outcome.ALREADY_EXITING)) is Reason.NOT_KILLED


def test_a_kill_that_may_have_been_asked_for_is_not_understood():
    """A node's kill marks only if it is known that nobody asked for it by sysrq; a cgroup's never was."""
    assert reason(Scene().with_report(sysrq=None)) is Reason.SCOPE_UNKNOWN
    at_limit = Scene(report=memcg_report(KUBEPODS)).with_report(sysrq=None)
    assert reason(at_limit) is Reason.LIMIT_ABOVE_POD
    assert reason(at_limit.with_report(sysrq=True)) is Reason.SYSRQ


@pytest.mark.parametrize("kind", [each for each in WorkloadKind if each is not WorkloadKind.POD])
def test_only_pods_are_marked(kind):
    """The kill of a unit, a container or a process of the host marks nothing, even if a pod is handed in."""
    assert reason(Scene().with_report(workload=Workload(kind=kind))) is Reason.NOT_IN_POD


@pytest.mark.parametrize(
    ("mark_on", "expected"),
    [
        (MarkOn.NODE, (Reason.CONTAINER_LIMIT_HIT, Reason.POD_LIMIT_HIT, Reason.LIMIT_ABOVE_POD)),
        (MarkOn.POD, (Reason.CONTAINER_LIMIT_HIT, Reason.POD_LIMIT, Reason.LIMIT_ABOVE_POD)),
        (MarkOn.ANY, (Reason.CONTAINER_LIMIT, Reason.POD_LIMIT, Reason.LIMIT_ABOVE_POD)),
    ],
)
def test_whose_limit_marks(mark_on, expected):
    """``node`` marks for limits above the pod, ``pod`` also for its own, ``any`` also for its container's."""
    cgroups = (CONTAINER, POD, KUBEPODS)
    scenes = [Scene(report=memcg_report(each)).with_marking(mark_on=mark_on) for each in cgroups]
    assert tuple(map(reason, scenes)) == expected


PATHS = {
    "systemd": ((CONTAINER,), (POD,), (QOS, KUBEPODS)),
    "nested below the container": ((f"{CONTAINER}/a/b", f"{CONTAINER}/a", CONTAINER), (POD,), (QOS,)),
    "cgroupfs": (
        (f"/kubepods/burstable/pod{POD_UID}/{CONTAINER_ID}",),
        (f"/kubepods/burstable/pod{POD_UID}",),
        ("/kubepods/burstable", "/kubepods"),
    ),
    "a custom slice above": (
        (f"/tenant.slice{CONTAINER}",),
        (f"/tenant.slice{POD}",),
        (f"/tenant.slice{QOS}", f"/tenant.slice{KUBEPODS}", "/tenant.slice"),
    ),
    "a container that is the node": (
        (f"{NODE}/kubelet{CONTAINER}",),
        (f"{NODE}/kubelet{POD}",),
        (f"{NODE}/kubelet{QOS}", f"{NODE}/kubelet{KUBEPODS}", f"{NODE}/kubelet", NODE, "/docker"),
    ),
    "a unit above": (
        (f"/system.slice/k3s.service/kubepods/pod{POD_UID}/{CONTAINER_ID}",),
        (f"/system.slice/k3s.service/kubepods/pod{POD_UID}",),
        ("/system.slice/k3s.service/kubepods", "/system.slice/k3s.service", "/system.slice"),
    ),
    "slice and scope in one name": (
        (f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{CONTAINER_ID}",),
        (),
        ("/system.slice/containerd.service", "/system.slice"),
    ),
    "a process of the pod's own level": ((), (POD,), (QOS, KUBEPODS)),
}


@pytest.mark.parametrize("style", PATHS)
def test_where_a_limit_stands_decides_not_what_it_is_called(style):
    """Above the pod's level is above the pod, be it a class, a slice, a unit or the container of a node."""
    groups = PATHS[style]
    levels = tuple([level(each, 9 * MIB, 10 * MIB) for group in groups for each in group])
    for cgroups, least in zip(groups, (MarkOn.ANY, MarkOn.POD, MarkOn.NODE), strict=True):
        for cgroup in cgroups:
            marking = [
                mark_on
                for mark_on in MarkOn
                if Scene(report=memcg_report(cgroup, levels=levels))
                .with_marking(mark_on=mark_on)
                .decide()
                .mark
            ]
            assert marking == list(MarkOn)[list(MarkOn).index(least) :], cgroup


def test_a_limit_beside_the_path_does_not_mark():
    """A kill for a limit that does not hold the pod (memory shared over pods) is no reason to move it."""
    beside = POD.replace(POD_UID[:4], "0000")
    assert reason(Scene(report=memcg_report(beside))) is Reason.LIMIT_ELSEWHERE
    assert reason(Scene(report=memcg_report(beside, certain=False))) is Reason.LIMIT_ELSEWHERE


def test_a_pod_that_memory_does_not_know_is_not_marked_for_a_limit():
    """Where memory is accounted further up than pods, no limit can be put above or below the pod."""
    levels = (level("/system.slice", 10 * MIB, 10 * MIB),)
    scene = Scene(report=memcg_report("/system.slice", levels=levels)).with_marking(mark_on=MarkOn.ANY)
    assert reason(scene) is Reason.LIMIT_UNKNOWN
    assert reason(scene.with_report(levels=())) is Reason.LIMIT_UNKNOWN
    assert reason(scene.with_report(limit=None)) is Reason.LIMIT_UNKNOWN


def test_what_is_uncertain_marks_if_no_candidate_forbids_it():
    """Of several limits that may have been hit each has to allow the mark; the report's own is told."""
    likely_above = Scene(report=memcg_report(KUBEPODS, certain=False))
    assert reason(likely_above) is Reason.LIMIT_UNCERTAIN
    assert reason(likely_above.with_marking(mark_on=MarkOn.POD)) is Reason.LIMIT_UNCERTAIN
    assert reason(likely_above.with_marking(mark_on=MarkOn.ANY)) is Reason.LIMIT_ABOVE_POD
    above_alone = (level(CONTAINER, MIB), level(POD, MIB), level(QOS, MIB, MIB), level(KUBEPODS, MIB, MIB))
    assert (
        reason(Scene(report=memcg_report(QOS, certain=False, levels=above_alone))) is Reason.LIMIT_ABOVE_POD
    )


def test_what_is_uncertain_but_forbidden_anyway_tells_whose_limit():
    """Where no candidate allows a mark, that the limit is uncertain is not the reason."""
    levels = (level(CONTAINER, MIB, MIB), level(POD, MIB, MIB))
    assert reason(Scene(report=memcg_report(POD, certain=False, levels=levels))) is Reason.POD_LIMIT_HIT
    assert (
        reason(Scene(report=memcg_report(CONTAINER, certain=False, levels=levels)))
        is Reason.CONTAINER_LIMIT_HIT
    )


def test_levels_that_are_missing_may_have_been_it():
    """Of a path deeper than the record an uncertain limit may be a container's."""
    levels = (level(POD, MIB), level(KUBEPODS, MIB, MIB))
    deep = {"victim": victim(cgroup=f"{POD}/{CUT}")}
    scene = Scene(report=memcg_report(KUBEPODS, certain=False, levels=levels))
    assert reason(scene) is Reason.LIMIT_ABOVE_POD
    assert reason(scene.with_report(**deep)) is Reason.LIMIT_UNCERTAIN
    assert reason(scene.with_report(**deep).with_marking(mark_on=MarkOn.ANY)) is Reason.LIMIT_ABOVE_POD
    assert reason(scene.with_report(victim=victim(cgroup=None))) is Reason.LIMIT_UNCERTAIN
    assert reason(scene.with_report(**deep, limit=limit_at(KUBEPODS, certain=True))) is Reason.LIMIT_ABOVE_POD


def test_levels_that_look_the_same_count_as_the_one_nearer_to_the_leaf():
    """Names that are not UTF-8 can look alike; then the limit is taken to be the container's."""
    same = "/kubepods.slice/\ufffd"
    levels = (level(same, MIB, MIB), level(POD, MIB), level(same, MIB, MIB))
    owners = iter([LimitOwner.CONTAINER, LimitOwner.POD, LimitOwner.OTHER])
    least = kill_rules.least_by_cgroup(memcg_report(same, levels=levels), lambda _: next(owners))
    assert least[same] is MarkOn.ANY


def test_the_triggers_place_does_not_matter():
    """Who asked for the memory has no say in whether moving the victim helps."""
    assert Scene().with_report(trigger=None).decide() == NODE_KILL
    assert reason(Scene(report=memcg_report(KUBEPODS)).with_report(trigger=None)) is Reason.LIMIT_ABOVE_POD


def test_old_kills_mark_nothing():
    """A kill older than --mark-max-age is left; one of that age is not, nor one from the clock's future."""
    for age_s, expected in ((900.0, True), (900.001, False), (-5.0, True), (float("nan"), False)):
        decision = Scene(age_s=age_s, now_s=NOW_S + HOUR_S).decide()
        assert decision.mark is expected, age_s
        assert decision.reason in (Reason.NODE_OUT_OF_MEMORY, Reason.KILL_TOO_OLD)

"""What the pod alone decides."""

from __future__ import annotations

import pytest

from oomtracer.events import Owner, Workload, WorkloadKind
from oomtracer.policy import PREFER_NO_EVICTION, Reason
from tests.unit.builders import POD_UID

from .scenes import (
    LABEL,
    MARK,
    MARKING,
    NODE_KILL,
    NOW_S,
    SPOILERS,
    Scene,
    pod,
    reason,
)


def test_a_pod_must_be_old_enough_when_it_is_killed():
    """Ten minutes at the kill, not at the decision: waiting for the API server makes no pod older."""
    for pod_age_s, kill_age_s, expected in (
        (600.0, 0.0, True),
        (599.0, 0.0, False),
        (1_000.0, 400.0, True),
        (1_000.0, 401.0, False),
        (-30.0, 0.0, False),
    ):
        scene = Scene(pod=pod(created_s=NOW_S - pod_age_s), age_s=kill_age_s)
        assert scene.decide().mark is expected, (pod_age_s, kill_age_s)
    from_the_future = Scene(pod=pod(created_s=NOW_S - 598), age_s=-5.0)
    assert reason(from_the_future) is Reason.TOO_YOUNG


def test_no_pod_is_too_young_for_no_age_at_all():
    """With --mark-min-pod-age 0 even a pod from the future of this node's clock is old enough."""
    young = Scene(pod=pod(created_s=NOW_S + 60)).with_marking(min_pod_age_s=0.0)
    assert young.decide() == NODE_KILL


def test_a_pod_of_unknown_age_counts_as_young():
    """Without a time of creation a pod is not taken to be old, unless no age is asked for."""
    scene = Scene(pod=pod(created_s=0.0))
    assert reason(scene) is Reason.TOO_YOUNG
    assert reason(Scene(now_s=float("nan"))) is Reason.TOO_YOUNG
    assert scene.with_marking(min_pod_age_s=0.0).decide() == NODE_KILL


def test_another_pods_kill_never_marks():
    """The pod must be the one in the victim's path: by its uid, or a static one's by its config hash."""
    assert reason(Scene(pod=pod(uid="0b1f7f51-5f35-4ab3-9d77-7d0a4a2f3c11"))) is Reason.NO_POD_MATCH
    hashed = Scene(pod=pod(uid="0b1f7f51-5f35-4ab3-9d77-7d0a4a2f3c11", config_hash=POD_UID, is_mirror=True))
    assert reason(hashed) is Reason.STATIC_POD
    cut = Workload(kind=WorkloadKind.POD, pod_uid=None)
    assert Scene().with_report(workload=cut).decide() == NODE_KILL
    assert reason(hashed.with_report(workload=cut)) is Reason.STATIC_POD


def test_static_pods_are_told_by_any_sign():
    """A mirror annotation, a cgroup of a config hash or the node as owner: moving is pointless."""
    static = Workload(kind=WorkloadKind.POD, pod_uid=POD_UID, static=True)
    assert reason(Scene().with_report(workload=static)) is Reason.STATIC_POD
    assert reason(Scene(pod=pod(is_mirror=True))) is Reason.STATIC_POD
    assert reason(Scene(pod=pod(controller=Owner(kind="Node", name="node-1")))) is Reason.STATIC_POD
    unknown = Workload(kind=WorkloadKind.POD, pod_uid=POD_UID, static=None)
    assert Scene().with_report(workload=unknown).decide() == NODE_KILL


def test_jobs_are_marked_if_allowed():
    """--mark-jobs allows the pods of Jobs, and no others."""
    jobs = Scene(pod=pod(controller=Owner(kind="Job", name="night"))).with_marking(mark_jobs=True)
    assert jobs.decide() == NODE_KILL
    assert reason(SPOILERS[Reason.BARE_POD](jobs)) is Reason.BARE_POD
    assert reason(SPOILERS[Reason.DAEMONSET_POD](jobs)) is Reason.DAEMONSET_POD


@pytest.mark.parametrize("kind", ["ReplicaSet", "StatefulSet", "ReplicationController", "StrimziPodSet"])
def test_what_makes_its_pods_anew_may_be_marked(kind):
    """Any other controller is taken to replace its pods elsewhere."""
    assert Scene(pod=pod(controller=Owner(kind=kind, name="shop"))).decide() == NODE_KILL


def test_critical_pods_begin_at_two_thousand_million():
    """The system's priority classes are never marked, users' highest is."""
    assert Scene(pod=pod(priority=1_999_999_999)).decide() == NODE_KILL
    assert reason(Scene(pod=pod(priority=2_000_001_000))) is Reason.CRITICAL_PRIORITY


def test_protected_namespaces_are_those_asked_for():
    """Only names in the list are protected."""
    scene = Scene().with_marking(protected_namespaces=frozenset({"oomtracer", "shop"}))
    assert reason(scene) is Reason.PROTECTED_NAMESPACE
    assert scene.with_pod(namespace="kube-system").decide() == NODE_KILL


@pytest.mark.parametrize("value", ["true", "", "no", "False", " false"])
def test_an_opt_out_counts_with_any_value_but_false(value):
    """Only ``false`` takes the opt-out back."""
    assert reason(Scene().with_annotation(MARKING.opt_out_annotation, value)) is Reason.OPTED_OUT
    assert Scene().with_annotation(MARKING.opt_out_annotation, "false").decide() == NODE_KILL


def test_the_opt_out_has_the_name_that_was_asked_for():
    """--opt-out-annotation replaces the default key, never the descheduler's."""
    scene = Scene().with_marking(opt_out_annotation="example.com/stay")
    assert reason(scene.with_annotation("example.com/stay", "")) is Reason.OPTED_OUT
    assert scene.with_annotation(MARKING.opt_out_annotation, "true").decide() == NODE_KILL
    assert reason(scene.with_annotation(PREFER_NO_EVICTION, "false")) is Reason.OPTED_OUT


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown", ""])
def test_only_finished_pods_are_finished(phase):
    """A pod that still runs, or may, can be marked."""
    assert Scene(pod=pod(phase=phase)).decide() == NODE_KILL


def test_finished_is_both_ways_of_ending():
    """A pod that ended well or badly is left alone."""
    assert {reason(Scene(pod=pod(phase=phase))) for phase in ("Succeeded", "Failed")} == {Reason.FINISHED}


def test_one_of_two_keys_is_enough_to_be_left_alone():
    """A pod with the annotation or the label, whatever the value, was marked by somebody."""
    assert reason(Scene().with_annotation(MARK.key, "")) is Reason.ANNOTATION_EXISTS
    assert reason(Scene().with_pod(labels={LABEL.key: "false"})) is Reason.LABEL_EXISTS
    both = Scene().with_annotation(MARK.key, "").with_pod(labels={LABEL.key: ""})
    assert reason(both) is Reason.ANNOTATION_EXISTS


def test_a_key_counts_only_where_it_is_configured():
    """The label's key as an annotation means nothing, nor does a key that nobody sets."""
    swapped = Scene().with_annotation(LABEL.key, "true").with_pod(labels={MARK.key: "yes"})
    assert swapped.decide() == NODE_KILL
    assert Scene().with_annotation(MARK.key, "yes").with_marking(annotation=None).decide() == NODE_KILL
    assert Scene().with_pod(labels={LABEL.key: "true"}).with_marking(label=None).decide() == NODE_KILL

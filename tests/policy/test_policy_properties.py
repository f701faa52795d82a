"""What holds for every kill and every pod."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.cgroups import limit_owner
from oomtracer.config import KeyValue, Marking, MarkOn, Rate
from oomtracer.events import CUT, Owner, Scope
from oomtracer.pods import Pod
from oomtracer.policy import PREFER_NO_EVICTION, Decision, Policy, Reason
from tests.unit.builders import CONTAINER, CONTAINER_ID, MIB, POD, QOS, examples, level, victim
from tests.unit.strategies import NAMES, reports

from .scenes import EXCLUSIVE, KUBEPODS, LABEL, MARK, MARKING_REASONS, SPOILERS, Scene, limit_at, memcg_report

ORDER = list(Reason)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
KEYS = st.sampled_from([MARK.key, LABEL.key, PREFER_NO_EVICTION, "oomtracer/ignore", ""]) | NAMES
PAIRS = st.dictionaries(KEYS, NAMES | st.just(""), max_size=3)
OWNERS = st.none() | st.builds(
    Owner, kind=st.sampled_from(["ReplicaSet", "Job", "DaemonSet", "Node"]) | NAMES, name=NAMES
)
PODS = st.builds(
    Pod,
    uid=NAMES,
    namespace=NAMES,
    name=NAMES,
    config_hash=st.none() | NAMES,
    is_mirror=st.booleans(),
    created_s=FLOATS,
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]) | NAMES,
    is_terminating=st.booleans(),
    priority=st.integers(-(2**31), 2**31 - 1),
    controller=OWNERS,
    owner=OWNERS,
    containers=st.just(()),
    container_ids=st.just({}),
    shares_pid_namespace=st.booleans(),
    annotations=PAIRS,
    labels=PAIRS,
)
KEY_VALUES = st.none() | st.builds(KeyValue, key=KEYS, value=NAMES)
MARKINGS = st.builds(
    Marking,
    annotation=KEY_VALUES,
    label=KEY_VALUES,
    mark_on=st.sampled_from(MarkOn),
    mark_jobs=st.booleans(),
    protected_namespaces=st.frozensets(NAMES, max_size=2),
    opt_out_annotation=KEYS,
    max_age_s=FLOATS,
    min_pod_age_s=FLOATS,
    budget=st.builds(Rate, count=st.integers(-1, 3), period_s=FLOATS),
    cooldown_s=FLOATS,
    require_admission_policy=st.booleans(),
)
NODES = ("", "/tenant.slice", "/system.slice/k3s.service", f"/docker/{CONTAINER_ID}")


@given(MARKINGS, st.lists(st.tuples(reports(), st.none() | PODS, FLOATS, FLOATS, FLOATS), max_size=5))
@examples(300)
def test_every_kill_and_pod_is_decided(marking, cases):
    """No report, pod, flag or time makes a policy raise, and reasons to mark are told of marks alone."""
    decider = Policy(marking, owner_of=limit_owner)
    for report, pod, now_s, monotonic_s, age_s in cases:
        decision = decider.decide(report, pod, now_s=now_s, monotonic_s=monotonic_s, age_s=age_s)
        assert decision.mark == (decision.reason in MARKING_REASONS)
        assert pod is not None or not decision.mark
        decider.give_back(report.incident)


@st.composite
def spoilt(draw):
    """Draw reasons that can hold at once."""
    chosen = draw(st.sets(st.sampled_from(list(SPOILERS)), min_size=1, max_size=8))
    for group in EXCLUSIVE:
        chosen -= set(sorted(chosen & group, key=ORDER.index)[1:])
    return sorted(chosen, key=ORDER.index)


@given(spoilt(), st.randoms(use_true_random=False))
@examples(400)
def test_whatever_is_wrong_nothing_is_marked_and_the_first_reason_is_told(chosen, random):
    """Any exclusions together keep a pod from being marked, and the order of the reasons decides which is told."""
    scene, shuffled = Scene(), list(chosen)
    random.shuffle(shuffled)
    for reason in shuffled:
        scene = SPOILERS[reason](scene)
    assert scene.decide() == Decision(mark=False, reason=chosen[0])


def lineage(path):
    """List a path and those above it, without the root."""
    return [path, *lineage(path.rpartition("/")[0])] if path else []


@st.composite
def at_limits(draw):
    """Draw a kill at a limit of a pod's path, in any of the places where nodes put pods."""
    root = draw(st.sampled_from(NODES))
    above = [f"{root}{QOS}", f"{root}{KUBEPODS}", *lineage(root)]
    inside = draw(st.sampled_from([[CONTAINER], [f"{CONTAINER}/a", CONTAINER], []]))
    groups = {
        MarkOn.ANY: [f"{root}{each}" for each in inside],
        MarkOn.POD: [f"{root}{POD}"],
        MarkOn.NODE: above,
    }
    least = {cgroup: each for each, cgroups in groups.items() for cgroup in cgroups}
    limits = draw(st.lists(st.none() | st.just(MIB), min_size=len(least), max_size=len(least)))
    levels = tuple([level(cgroup, MIB, bytes_) for cgroup, bytes_ in zip(least, limits, strict=True)])
    hit = draw(st.sampled_from(list(least)))
    report = memcg_report(hit, certain=draw(st.booleans()), levels=levels)
    missing = draw(st.booleans())
    if missing:
        report = replace(report, victim=victim(cgroup=f"{levels[0].cgroup}/{CUT}"))
    return report, least, missing


def marked(report, mark_on):
    """Whether a pod that may be marked is, with this --mark-on."""
    return Scene(report=report).with_marking(mark_on=mark_on).decide().mark


@given(at_limits())
@examples(400)
def test_a_certain_limit_marks_by_its_place(drawn):
    """With a certain limit its place alone decides, whatever other limits there are or levels are missing."""
    report, least, _ = drawn
    report = replace(report, limit=replace(report.limit, certain=True))
    order = list(MarkOn)
    for mark_on in MarkOn:
        needed = least[report.limit.cgroup]
        assert marked(report, mark_on) == (order.index(needed) <= order.index(mark_on))


@given(at_limits(), st.sampled_from(MarkOn))
@examples(400)
def test_an_uncertain_limit_marks_only_if_each_candidate_would(drawn, mark_on):
    """What is uncertain is marked exactly if each limit that it can be, alone and certain, would be."""
    report, _, missing = drawn
    candidates = [each.cgroup for each in report.levels if each.limit_bytes is not None]
    alone = [
        marked(replace(report, limit=limit_at(cgroup)), mark_on)
        for cgroup in {*candidates, report.limit.cgroup}
    ]
    if missing:
        alone.append(mark_on is MarkOn.ANY)
    uncertain = replace(report, limit=replace(report.limit, certain=False))
    decision = Scene(report=uncertain).with_marking(mark_on=mark_on).decide()
    assert decision.mark == all(alone)
    assert (decision.reason is Reason.LIMIT_UNCERTAIN) == (any(alone) and not all(alone))


@given(st.one_of(at_limits().map(lambda drawn: drawn[0]), reports()), st.sampled_from(Scope))
@examples(400)
def test_mark_on_is_monotone(report, scope):
    """What ``node`` marks, ``pod`` marks; what ``pod`` marks, ``any`` marks."""
    report = replace(report, scope=scope)
    node, pod, any_ = (marked(report, mark_on) for mark_on in MarkOn)
    assert node <= pod <= any_


@given(at_limits(), st.booleans())
@examples(100)
def test_a_dry_run_decides_the_same_for_each_kill(drawn, is_spent):
    """What would be set on a pod changes no decision, the budget's included."""
    scene = Scene(report=drawn[0]).with_marking(budget=Rate(0 if is_spent else 1, 600.0), mark_on=MarkOn.POD)
    dry = scene.with_marking(annotation=None, label=None)
    assert dry.marking.is_dry_run
    assert scene.decide() == dry.decide()


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
@examples(300)
def test_ages_are_compared_as_they_are_written(age_s, max_age_s, pod_age_s, min_pod_age_s):
    """A kill marks up to --mark-max-age, a pod is marked from --mark-min-pod-age on, at the kill."""
    scene = replace(Scene(), age_s=float(age_s))
    scene = scene.with_pod(created_s=scene.now_s - pod_age_s)
    scene = scene.with_marking(max_age_s=float(max_age_s), min_pod_age_s=float(min_pod_age_s))
    decision = scene.decide()
    is_old_enough = max(pod_age_s - age_s, 0) >= min_pod_age_s
    assert decision.mark == (age_s <= max_age_s and is_old_enough)

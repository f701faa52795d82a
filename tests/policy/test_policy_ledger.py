"""What earlier marks hold back: by example, and against a model that forgets nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.cgroups import limit_owner
from oomtracer.config import Marking, Rate
from oomtracer.events import Owner
from oomtracer.policy import Policy, Reason
from oomtracer.policy.ledger import Ledger, Mark
from tests.unit.builders import examples

from .scenes import MARKING, RATES, SPOILERS, WIDE, Scene, pod, pod_report, policy

DAY_S = 86_400.0


def ask(
    decider: Policy,
    *,
    at_s: float,
    incident: str,
    uid: str,
    owner: str = "shop",
    namespace: str = "shop",
    kind: str = "Deployment",
    **changes: object,
) -> Reason:
    """Decide on a kill in a pod that may be marked, at an instant of the monotonic clock."""
    report = pod_report(incident=incident)
    workload = replace(report.workload, pod_uid=uid)
    scene = Scene(
        report=replace(report, workload=workload),
        pod=pod(uid=uid, namespace=namespace, owner=Owner(kind=kind, name=owner)),
        monotonic_s=at_s,
    )
    decision = replace(scene, **changes).decide(decider)
    assert decision.mark == (decision.reason is Reason.NODE_OUT_OF_MEMORY)
    return decision.reason


def test_one_incident_marks_one_pod():
    """The first pod of an incident takes its mark, for itself and for every other pod."""
    decider = policy(budget=WIDE, cooldown_s=0.0)
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.INCIDENT_DECIDED
    assert ask(decider, at_s=DAY_S, incident="i", uid="b", owner="b") is Reason.INCIDENT_DECIDED


def test_an_incident_stays_open_until_a_mark():
    """Where the first victim's pod is excluded or held back, the next victim's may be marked."""
    decider = policy(budget=Rate(2, 600.0))
    assert ask(decider, at_s=0, incident="h", uid="z") is Reason.NODE_OUT_OF_MEMORY
    excluded = SPOILERS[Reason.BARE_POD](Scene())
    assert (
        ask(decider, at_s=1, incident="i", uid=excluded.pod.uid, pod=excluded.pod, report=pod_report())
        is Reason.BARE_POD
    )
    assert ask(decider, at_s=1, incident="i", uid="b") is Reason.OWNER_COOLING_DOWN
    assert ask(decider, at_s=1, incident="i", uid="c", owner="c") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=1, incident="i", uid="d", owner="d") is Reason.INCIDENT_DECIDED


def test_a_pod_is_marked_once_in_its_life():
    """Another kill, of another container or a year later, does not mark the same pod again."""
    decider = policy()
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=365 * DAY_S, incident="j", uid="a") is Reason.POD_DECIDED


def test_an_owner_cools_down():
    """Pods of one owner are --mark-cooldown apart, to the second."""
    decider = policy(budget=WIDE)
    assert ask(decider, at_s=100, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=1_899, incident="j", uid="b") is Reason.OWNER_COOLING_DOWN
    assert ask(decider, at_s=1_900, incident="k", uid="b") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=1_901, incident="l", uid="c") is Reason.OWNER_COOLING_DOWN


def test_an_owner_is_a_namespace_a_kind_and_a_name():
    """What differs in any of the three is another owner; a new ReplicaSet of a Deployment is the same."""
    decider = policy(budget=WIDE)
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=0, incident="j", uid="b", namespace="other") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=0, incident="k", uid="c", kind="StatefulSet") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=0, incident="l", uid="d", owner="shop-2") is Reason.NODE_OUT_OF_MEMORY
    rolled_out = Owner(kind="ReplicaSet", name="shop-77f8")
    changed = {"pod": pod(uid="e", controller=rolled_out)}
    assert ask(decider, at_s=0, incident="m", uid="e", **changed) is Reason.OWNER_COOLING_DOWN


def test_a_pod_without_a_known_top_owner_cools_down_with_its_controller():
    """Pods of different controllers do not share a cool-down because their top owner is not known."""
    decider = policy(budget=WIDE)
    for uid, name, expected in (
        ("a", "one", Reason.NODE_OUT_OF_MEMORY),
        ("b", "two", Reason.NODE_OUT_OF_MEMORY),
        ("c", "one", Reason.OWNER_COOLING_DOWN),
    ):
        changed = {"pod": pod(uid=uid, owner=None, controller=Owner(kind="Custom", name=name))}
        assert ask(decider, at_s=0, incident=uid, uid=uid, **changed) is expected


def test_the_budget_slides():
    """At most so many marks in any period: a place is free again one period after each mark."""
    decider = policy(budget=Rate(2, 600.0), cooldown_s=0.0)
    expected = {
        0: Reason.NODE_OUT_OF_MEMORY,
        500: Reason.NODE_OUT_OF_MEMORY,
        599: Reason.BUDGET_SPENT,
        600: Reason.NODE_OUT_OF_MEMORY,
        1_099: Reason.BUDGET_SPENT,
        1_100: Reason.NODE_OUT_OF_MEMORY,
    }
    found = {
        at_s: ask(decider, at_s=at_s, incident=str(at_s), uid=str(at_s), owner=str(at_s)) for at_s in expected
    }
    assert found == expected


def test_an_empty_budget_marks_nothing():
    """A budget of 0 never marks."""
    assert ask(policy(budget=Rate(0, 600.0)), at_s=0, incident="i", uid="a") is Reason.BUDGET_SPENT


def test_the_most_telling_of_several_is_told():
    """Incident comes before pod, pod before owner, owner before budget."""
    decider = policy()
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    found = (
        ask(decider, at_s=0, incident="i", uid="a"),
        ask(decider, at_s=0, incident="j", uid="a"),
        ask(decider, at_s=0, incident="k", uid="b"),
        ask(decider, at_s=0, incident="l", uid="c", owner="c"),
    )
    assert found == RATES


def test_a_clock_that_is_set_changes_nothing():
    """Rates know only the monotonic clock: Unix time may jump by years either way."""
    for jump_s in (-40 * 365 * DAY_S, 40 * 365 * DAY_S):
        decider = policy(min_pod_age_s=0.0)
        assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
        now = {"now_s": Scene().now_s + jump_s}
        assert ask(decider, at_s=599, incident="j", uid="b", owner="b", **now) is Reason.BUDGET_SPENT
        assert ask(decider, at_s=600, incident="j", uid="b", owner="b", **now) is Reason.NODE_OUT_OF_MEMORY


def test_a_time_that_is_no_number_marks_nothing_more():
    """An instant that cannot be compared lies in every window."""
    decider = policy()
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=float("nan"), incident="j", uid="b", owner="b") is Reason.BUDGET_SPENT


def test_what_is_given_back_was_never_decided():
    """Budget, cool-down, incident and pod are free again; another incident's mark stays."""
    decider = policy(budget=Rate(2, 600.0))
    assert ask(decider, at_s=0, incident="h", uid="z", owner="z") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=0, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    decider.give_back("i")
    decider.give_back("i")
    decider.give_back("never decided")
    assert ask(decider, at_s=1, incident="i", uid="a") is Reason.NODE_OUT_OF_MEMORY
    assert ask(decider, at_s=1, incident="j", uid="z", owner="y") is Reason.POD_DECIDED
    assert ask(decider, at_s=1, incident="j", uid="c", owner="c") is Reason.BUDGET_SPENT


def mark(number: int, at_s: float) -> Mark:
    """Build a mark of its own incident, pod and owner."""
    owner = Owner(kind="Deployment", name=str(number))
    return Mark(incident=f"i{number}", pod_uid=f"u{number}", namespace="n", owner=owner, at_s=at_s)


def test_memory_of_marks_is_bounded():
    """Beyond the windows the newest 4,096 marks are remembered, and no more."""
    ledger = Ledger(replace(MARKING, budget=Rate(1, 1.0), cooldown_s=1.0, max_age_s=1.0))
    for number in range(10_000):
        assert ledger.refusal(mark(number, 2.0 * number)) is None
        ledger.enter(mark(number, 2.0 * number))
    assert len(ledger._marks) == len(ledger._pod_uids) == 4_096
    assert ledger.refusal(replace(mark(10_000, 30_000.0), pod_uid="u5904")) is Reason.POD_DECIDED
    assert ledger.refusal(replace(mark(10_000, 30_000.0), pod_uid="u5903")) is None


def test_no_window_is_forgotten_for_want_of_memory():
    """However many marks a budget allows: each is remembered while it can hold back another."""
    for windows in (
        {"budget": Rate(6_000, 600.0), "cooldown_s": 1.0, "max_age_s": 1.0},
        {"budget": Rate(6_000, 1.0), "cooldown_s": 600.0, "max_age_s": 1.0},
        {"budget": Rate(6_000, 1.0), "cooldown_s": 1.0, "max_age_s": 600.0},
    ):
        ledger = Ledger(replace(MARKING, **windows))
        for number in range(6_000):
            ledger.enter(mark(number, number / 100))
        first, last_s = mark(0, 599.9), 599.9
        assert len(ledger._marks) == 6_000
        assert ledger.refusal(first) is Reason.INCIDENT_DECIDED
        if windows["cooldown_s"] == 600.0:
            assert ledger.refusal(replace(first, incident="n", pod_uid="n")) is Reason.OWNER_COOLING_DOWN
        if windows["budget"].period_s == 600.0:
            assert ledger.refusal(mark(6_000, last_s)) is Reason.BUDGET_SPENT
        ledger.enter(mark(6_000, 700.0))
        assert len(ledger._marks) == 4_096


@dataclass(frozen=True)
class Step:
    """Time passes, then a kill is decided on, or a mark given back."""

    pause_s: int
    incident: int
    uid: int
    owner: int
    is_excluded: bool
    give_back: bool


STEPS = st.lists(
    st.builds(
        Step,
        pause_s=st.sampled_from([0, 0, 1, 2, 5]),
        incident=st.integers(0, 25),
        uid=st.integers(0, 12),
        owner=st.integers(0, 4),
        is_excluded=st.sampled_from([False, False, False, True]),
        give_back=st.sampled_from([False, False, False, False, True]),
    ),
    max_size=40,
)
MARKINGS = st.builds(
    lambda count, period_s, cooldown_s: replace(
        MARKING, budget=Rate(count, float(period_s)), cooldown_s=float(cooldown_s)
    ),
    st.integers(0, 3),
    st.integers(1, 12),
    st.integers(0, 15),
)


def expected(marks: dict[int, tuple[int, Step]], step: Step, now_s: int, marking: Marking) -> Reason:
    """Decide by the rules as they are written for users, with every mark ever made at hand."""
    if step.is_excluded:
        return Reason.BARE_POD
    if step.incident in marks:
        return Reason.INCIDENT_DECIDED
    if step.uid in {other.uid for _, other in marks.values()}:
        return Reason.POD_DECIDED
    if any(other.owner == step.owner and now_s - at_s < marking.cooldown_s for at_s, other in marks.values()):
        return Reason.OWNER_COOLING_DOWN
    spent = [at_s for at_s, _ in marks.values() if now_s - at_s < marking.budget.period_s]
    return Reason.BUDGET_SPENT if len(spent) >= marking.budget.count else Reason.NODE_OUT_OF_MEMORY


def take(decider: Policy, step: Step, now_s: int) -> Reason:
    """Let a policy decide on a step."""
    changes = {"controller": None} if step.is_excluded else {}
    owner = Owner(kind="Deployment", name=str(step.owner))
    uid = f"u{step.uid}"
    changed = {"pod": pod(uid=uid, owner=owner, **changes)}
    return ask(decider, at_s=now_s, incident=f"i{step.incident}", uid=uid, **changed)


@given(MARKINGS, STEPS)
@examples(400)
def test_any_history_is_decided_as_by_one_who_forgets_nothing(marking, steps):
    """Every decision is that of the written rules over all marks made and not given back."""
    decider, marks, now_s = Policy(marking, owner_of=limit_owner), {}, 0
    for step in steps:
        now_s += step.pause_s
        if step.give_back:
            decider.give_back(f"i{step.incident}")
            marks.pop(step.incident, None)
            continue
        reason = take(decider, step, now_s)
        assert reason is expected(marks, step, now_s, marking)
        if reason is Reason.NODE_OUT_OF_MEMORY:
            marks[step.incident] = (now_s, step)


@given(MARKINGS, STEPS)
@examples(300)
def test_no_history_breaks_a_promise(marking, steps):
    """In any period no more marks than the budget, owners apart, each pod and incident once."""
    decider, marks, now_s = Policy(marking, owner_of=limit_owner), [], 0
    for step in steps:
        now_s += step.pause_s
        if take(decider, step, now_s) is Reason.NODE_OUT_OF_MEMORY:
            marks.append((now_s, step))
    for key in ("uid", "incident"):
        seen = [getattr(step, key) for _, step in marks]
        assert len(seen) == len(set(seen))
    for start_s, first in marks:
        period = [at_s for at_s, _ in marks if 0 <= at_s - start_s < marking.budget.period_s]
        assert len(period) <= marking.budget.count
        cooling = [
            1
            for at_s, step in marks
            if step.owner == first.owner and 0 <= at_s - start_s < marking.cooldown_s
        ]
        assert len(cooling) <= 1
    assert not any(step.is_excluded for _, step in marks)


@given(MARKINGS, STEPS, STEPS)
@examples(200)
def test_giving_back_restores_exactly(marking, before, after):
    """A mark that is given back leaves a policy that decides as if the mark had never been decided."""
    plain, restored = (Policy(marking, owner_of=limit_owner) for _ in range(2))
    now_s = 0
    for step in before:
        now_s += step.pause_s
        assert take(plain, step, now_s) is take(restored, step, now_s)
    extra = Step(pause_s=0, incident=99, uid=99, owner=2, is_excluded=False, give_back=False)
    take(restored, extra, now_s)
    restored.give_back("i99")
    for step in [*after, extra]:
        now_s += step.pause_s
        assert take(plain, step, now_s) is take(restored, step, now_s)


@given(MARKINGS, STEPS)
@examples(200)
def test_what_is_excluded_uses_nothing_up(marking, steps):
    """Leaving the excluded kills out of a history changes no other decision."""
    every, without = (Policy(marking, owner_of=limit_owner) for _ in range(2))
    now_s = 0
    for step in steps:
        now_s += step.pause_s
        reason = take(every, step, now_s)
        assert step.is_excluded or take(without, step, now_s) is reason

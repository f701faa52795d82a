from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.deliveries import Told
from oomtracer.kube.event import Event, Occurrences
from oomtracer.sinks.kube_events.bucket import BURST, MAX_OBJECTS, REFILL_S, Buckets
from oomtracer.sinks.kube_events.ledger import END_S, MAX_SERIES, UPDATE_INTERVAL_S, WAIT_S, Ledger
from oomtracer.sinks.kube_events.series import Key, Occurrence, Series
from oomtracer.sinks.kube_events.subject import node_subject
from tests.unit.builders import examples

KEY = Key("uid-0", "ProcessOOMKilled", "web", "container", init_died=False, is_chosen=False)
POD_WRITES_S = 3_600.0


def event(name: str = "e") -> Event:
    """Build an Event."""
    subject = node_subject(name)
    return Event(name=name, regarding=subject, time="t", reason="r", action="a", note="n", node="n")


def record(ledger: Ledger, now_s: float, key: Key = KEY) -> None:
    """Count one incident."""
    occurrence = Occurrence(told=Told(f"at {now_s:g}", key.uid, "kills"), time=f"at {now_s:g}")
    ledger.record(key, occurrence, event, now_s=now_s)


def written(ledger: Ledger, until_s: float, now_s: float = 0.0) -> list[tuple[float, str, int]]:
    """Let a server that is never slow and takes everything write until then: when, for whom, which count."""
    writes = []
    while (due_s := ledger.next_s()) is not None and max(due_s, now_s) <= until_s:
        now_s = max(due_s, now_s)
        if series := ledger.next(now_s):
            writes.append((now_s, series.key.uid, series.occurrences.count))
            ledger.answered()
            ledger.told(series, series.occurrences.count, now_s=now_s)
    return writes


def test_repeated_kills_are_one_event_that_counts():
    """The first is told at once, the next ones together and not before ten seconds have passed."""
    ledger = Ledger()
    record(ledger, 0.0)
    assert written(ledger, 0.0) == [(0.0, "uid-0", 1)]
    for second in range(1, 10):
        record(ledger, second)
    assert written(ledger, 9.0, 9.0) == []
    assert written(ledger, 60.0, 9.0) == [(UPDATE_INTERVAL_S, "uid-0", 10)]
    assert ledger.pending == 0


def test_what_happens_while_it_is_written_is_told_next():
    """Only the count that was sent is taken as told."""
    ledger = Ledger()
    record(ledger, 0.0)
    series = ledger.next(0.0)
    record(ledger, 0.1)
    ledger.told(series, 1, now_s=0.2)
    assert ledger.pending == 1
    assert written(ledger, 60.0, 0.2) == [(0.2 + UPDATE_INTERVAL_S, "uid-0", 2)]


def test_a_series_ends_after_six_quiet_minutes():
    """A kill within them counts up the same Event, a later one is a new Event."""
    ledger = Ledger()
    counted = []
    for now_s in (0.0, END_S - 1, 2 * END_S - 1):
        record(ledger, now_s)
        counted += [count for _, _, count in written(ledger, now_s, now_s)]
    assert counted == [1, 2, 1]
    assert not +ledger.dropped


@pytest.mark.parametrize(
    "change",
    [
        {"uid": "x"},
        {"reason": "x"},
        {"container": "x"},
        {"cause": "pod"},
        {"is_chosen": True},
        {"init_died": True},
        {"init_died": None},
    ],
)
def test_other_kills_are_other_series(change):
    """Another pod, container, reason, kind of limit or end says something else, in an Event of its own."""
    ledger = Ledger()
    record(ledger, 0.0)
    record(ledger, 0.0, KEY._replace(**change))
    assert [count for _, _, count in written(ledger, 0.0)] == [1, 1]


def test_a_first_word_goes_before_a_count():
    """A pod that nothing was told of comes before one whose counter ticks, whoever came first."""
    ledger = Ledger()
    record(ledger, 0.0)
    written(ledger, 0.0)
    record(ledger, 1.0)
    record(ledger, 20.0, KEY._replace(uid="uid-1"))
    assert [uid for _, uid, _ in written(ledger, 20.0, 20.0)] == ["uid-1", "uid-0"]


def test_those_that_wait_take_turns():
    """First come, first served; one that failed goes to the end."""
    ledger = Ledger()
    for number in range(3):
        record(ledger, 0.0, KEY._replace(uid=f"uid-{number}"))
    first = ledger.next(0.0)
    assert first.key.uid == "uid-0"
    ledger.failed(first, now_s=0.0)
    assert [uid for _, uid, _ in written(ledger, 0.0)] == ["uid-1", "uid-2", "uid-0"]


def test_what_fails_is_given_up_an_hour_after_the_last_kill():
    """An Event that the API server does not take is not kept for ever, and is counted then."""
    ledger = Ledger()
    record(ledger, 0.0)
    record(ledger, 5.0)
    for now_s in (10.0, 100.0, WAIT_S - 1, WAIT_S + 4):
        ledger.failed(ledger.next(now_s), now_s=now_s)
        assert ledger.pending == 1
    assert ledger.next(WAIT_S + 5) is None
    assert ledger.dropped == {"unreachable": 2}
    assert ledger.next_s() is None


def test_what_fails_keeps_the_order_of_its_pod():
    """A pod's Events are created in the order of their first kills, whatever fails in between."""
    ledger = Ledger()
    for number in range(3):
        record(ledger, 0.0, KEY._replace(container=f"c{number}"))
    record(ledger, 0.0, KEY._replace(uid="uid-1"))
    for _ in range(2):
        series = ledger.next(0.0)
        assert series.key.container == "c0"
        ledger.failed(series, now_s=0.0)
        other = ledger.next(0.0)
        assert other.key.uid == "uid-1"
        ledger.failed(other, now_s=0.0)
    order = []
    while series := ledger.next(0.0):
        order.append(series.key.container)
        ledger.told(series, 1, now_s=0.0)
    assert [each for each in order if each != "web"] == ["c0", "c1", "c2"]


def test_an_event_whose_time_is_over_is_created_anew():
    """All that it counted is told again, under the same name."""
    ledger = Ledger()
    for now_s in (0.0, 20.0):
        record(ledger, now_s)
        series = ledger.next(now_s)
        assert (series.told, series.untold) == (0 if now_s == 0 else 1, 1)
        if now_s:
            ledger.gone(series)
        else:
            ledger.told(series, 1, now_s=now_s)
    again = ledger.next(20.0)
    assert (again.told, again.occurrences.count, again.event.name) == (0, 2, "e")


def test_an_event_that_exists_may_have_counted_less():
    """What was created by an attempt whose answer was lost is brought up to date."""
    ledger = Ledger()
    record(ledger, 0.0)
    record(ledger, 0.0)
    ledger.told(ledger.next(0.0), 1, now_s=0.0)
    assert [count for _, _, count in written(ledger, 60.0)] == [2]


def test_one_pod_has_a_burst_of_25_and_then_one_in_five_minutes():
    """A pod that dies every five seconds for hours is written about less and less, and still counted right."""
    ledger = Ledger()
    writes = []
    for number in range(int(POD_WRITES_S / 5)):
        record(ledger, 5.0 * number)
        writes += written(ledger, 5.0 * number, 5.0 * number)
    writes += written(ledger, POD_WRITES_S + REFILL_S, POD_WRITES_S)
    assert writes[-1][2] == POD_WRITES_S / 5
    assert not +ledger.dropped
    times = [at_s for at_s, _, _ in writes]
    assert_limited(times)
    assert len(times) > 20


def test_the_counter_of_one_container_costs_another_no_first_word():
    """Part of a pod's burst is kept for what nobody was told of yet."""
    ledger = Ledger()
    for number in range(200):
        record(ledger, 10.0 * number)
        written(ledger, 10.0 * number, 10.0 * number)
    record(ledger, 2_000.0, KEY._replace(container="log"))
    assert (2_000.0, "uid-0", 1) in written(ledger, 2_000.0, 2_000.0)


def test_what_one_pod_does_costs_others_nothing():
    """Each pod has its own burst."""
    ledger = Ledger()
    for number in range(60):
        record(ledger, 0.0, KEY._replace(container=f"c{number}"))
    record(ledger, 0.0, KEY._replace(uid="uid-1"))
    writes = written(ledger, 0.0)
    assert [uid for _, uid, _ in writes].count("uid-0") == BURST
    assert [uid for _, uid, _ in writes].count("uid-1") == 1


def test_too_many_events_of_one_pod_are_dropped_and_counted():
    """What gets no turn before its series ends is never told, and that is known, whatever failed long before."""
    ledger = Ledger()
    record(ledger, 0.0, KEY._replace(uid="uid-9"))
    ledger.failed(ledger.next(0.0), now_s=0.0)
    for number in range(BURST + 30):
        record(ledger, 0.0, KEY._replace(container=f"c{number}"))
    writes = written(ledger, WAIT_S - 1)
    assert [uid for _, uid, _ in writes].count("uid-0") == BURST + 11
    record(ledger, WAIT_S - 1, KEY._replace(uid="uid-1"))
    assert not +ledger.dropped
    record(ledger, WAIT_S, KEY._replace(uid="uid-2"))
    assert +ledger.dropped == {"pod_limit": 19}


def test_what_waits_ends_later_than_what_is_told():
    """A first word and a last count have an hour; where both are told, six minutes are enough."""
    ledger = Ledger()
    record(ledger, 0.0)
    written(ledger, 0.0)
    record(ledger, 0.0)
    record(ledger, 0.0, KEY._replace(uid="uid-1"))
    record(ledger, 0.0, KEY._replace(uid="uid-2"))
    assert [uid for _, uid, _ in written(ledger, 0.0)] == ["uid-1", "uid-2"]
    record(ledger, 1.0, KEY._replace(uid="uid-3"))
    record(ledger, WAIT_S - 1, KEY._replace(uid="uid-4"))
    assert {key.uid for key in ledger._series} == {"uid-0", "uid-3", "uid-4"}
    assert [(uid, count) for _, uid, count in written(ledger, WAIT_S, WAIT_S - 1)] == [
        ("uid-3", 1),
        ("uid-4", 1),
        ("uid-0", 2),
    ]
    assert not +ledger.dropped


def test_what_an_outage_gave_no_turn_is_told_as_unreachable():
    """Not the pod's limit held it back: it was never tried because another one failed."""
    ledger = Ledger()
    for number in range(BURST + 10):
        record(ledger, 0.0, KEY._replace(container=f"c{number}"))
    for now_s in (*range(BURST), *[REFILL_S * number + BURST for number in range(1, 9)]):
        ledger.failed(ledger.next(now_s), now_s=now_s)
    record(ledger, WAIT_S, KEY._replace(uid="uid-1"))
    assert ledger.dropped == {"unreachable": BURST + 10}


@pytest.mark.parametrize(("failed_s", "reason"), [(1.0, "unreachable"), (-1.0, "queue_full")])
def test_what_gets_no_turn_in_a_queue_is_told_by_why_the_queue_is_long(failed_s, reason):
    """After an outage that it lived through that was the reason; one before it has nothing to do with it."""
    ledger = Ledger()
    record(ledger, -1.0, KEY._replace(uid="uid-1"))
    record(ledger, 0.0)
    tried = ledger.next(0.0)
    assert tried.key.uid == "uid-1"
    ledger.failed(tried, now_s=failed_s)
    ledger.answered()
    ledger.drop(tried, "denied")
    record(ledger, WAIT_S, KEY._replace(uid="uid-2"))
    assert ledger.dropped == {"denied": 1, reason: 1}


def fill(ledger: Ledger, series: int) -> None:
    """Let more pods have kills, one after the other from the first second on, that nobody is told of."""
    for number in range(series):
        record(ledger, 1.0 + number / 10_000, KEY._replace(uid=f"more-{number}"))


def test_the_queue_is_bounded_and_the_oldest_goes():
    """The oldest kill that waits is dropped and counted."""
    ledger = Ledger()
    fill(ledger, MAX_SERIES)
    assert not +ledger.dropped
    record(ledger, 2.0)
    assert ledger.dropped == {"queue_full": 1}
    assert ledger.pending == MAX_SERIES
    assert ledger.next(2.0).key.uid == "more-1"


def test_a_flood_pushes_out_only_its_own():
    """Of the object with the most series that wait the oldest goes, not another object's that is older."""
    ledger = Ledger()
    record(ledger, 0.0, KEY._replace(uid="uid-1"))
    for number in range(MAX_SERIES + 10):
        record(ledger, 1.0, KEY._replace(container=f"c{number}"))
    assert ledger.dropped == {"queue_full": 11}
    assert ledger.next(2.0).key.uid == "uid-1"
    assert ledger.next(2.0).key.uid == "uid-1"


def restored(ledger: Ledger, series: list[Series], now_s: float) -> dict[str, int]:
    """Hand a ledger the series of an earlier process; what it drops."""
    ledger.restore(series, now_s=now_s)
    return dict(+ledger.dropped)


def running(name: str, last_s: float, told: int, count: int = 2) -> Series:
    """Build a series of an earlier process."""
    key = KEY._replace(container=name)
    return Series(key=key, event=event(name), occurrences=Occurrences(count, "t"), last_s=last_s, told=told)


def test_series_of_an_earlier_process_go_on():
    """What is untold is told in the order in which they began, and a kill in time counts up what is told."""
    ledger = Ledger()
    began = [running("b", -10.0, 0), running("a", -20.0, 0), running("c", -30.0, 2)]
    assert restored(ledger, began, 0.0) == {}
    assert ledger.pending == 2
    order = []
    while series := ledger.next(0.0):
        order.append(series.key.container)
        ledger.told(series, 2, now_s=0.0)
    assert order == ["b", "a"]
    record(ledger, 0.0, KEY._replace(container="c"))
    assert ledger.next(0.0).occurrences.count == 3


def test_series_of_an_earlier_process_end_by_their_own_time():
    """A told one after six minutes, an untold one after an hour, which is counted."""
    ledger = Ledger()
    old = [running("a", -END_S, 2), running("b", -END_S, 1), running("c", -WAIT_S, 0)]
    assert restored(ledger, old, 0.0) == {"expired": 2}
    assert [key.container for key in ledger._series] == ["b"]


def test_series_that_are_told_give_way_first():
    """Forgetting them loses nothing: the next kill begins another Event."""
    ledger = Ledger()
    for _ in range(BURST):
        ledger._buckets.take("uid-0", now_s=0.0)
    record(ledger, 0.0)  # has to wait, and is the oldest
    record(ledger, 0.1, KEY._replace(uid="uid-1"))
    assert [uid for _, uid, _ in written(ledger, 0.1, 0.1)] == ["uid-1"]
    fill(ledger, MAX_SERIES - 1)
    assert not +ledger.dropped
    assert ledger.pending == MAX_SERIES


def test_what_is_under_way_is_not_dropped():
    """The sender still has to say what came of it."""
    ledger = Ledger()
    record(ledger, 0.0)
    series = ledger.next(0.0)
    fill(ledger, MAX_SERIES)
    assert ledger.dropped == {"queue_full": 1}
    ledger.told(series, 1, now_s=2.0)
    assert ledger.next(2.0).key.uid == "more-1"
    later = Ledger()
    record(later, 0.0)
    series = later.next(0.0)
    record(later, WAIT_S, KEY._replace(uid="uid-1"))
    later.told(series, 1, now_s=WAIT_S)
    assert not +later.dropped


def test_at_the_end_nothing_waits_for_its_interval():
    """A count that would be due in seconds is told at once, if the pod's limit allows it."""
    ledger = Ledger()
    record(ledger, 0.0)
    written(ledger, 0.0)
    record(ledger, 1.0)
    ledger.hurry()
    assert written(ledger, 1.0, 1.0) == [(1.0, "uid-0", 2)]
    record(ledger, 2.0)
    ledger.drop_all("stopped")
    assert ledger.dropped == {"stopped": 1}
    assert ledger.pending == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["kill", "kill", "take", "take", "fail", "gone", "refuse", "stop"]),
        st.integers(0, 3),
        st.floats(0.0, 1_500.0),
    ),
    max_size=60,
)


@given(STEPS)
@examples(400)
def test_every_incident_is_told_or_waits_or_is_counted(steps):
    """Whatever kills, answers and pauses come: nothing is lost without a count, nothing told twice."""
    ledger, recorded, told, now_s = Ledger(), 0, 0, 0.0
    for what, number, pause_s in steps:
        now_s += pause_s
        if what == "kill":
            recorded += 1
            record(ledger, now_s, KEY._replace(uid=f"uid-{number % 2}", container=f"c{number}"))
        elif what == "stop":
            ledger.drop_all("stopped")
        elif series := ledger.next(now_s):
            if what != "fail":
                ledger.answered()
            match what:
                case "take":
                    told += series.untold
                    ledger.told(series, series.occurrences.count, now_s=now_s)
                case "fail":
                    ledger.failed(series, now_s=now_s)
                case "gone":
                    told -= series.told
                    ledger.gone(series)
                case "refuse":
                    ledger.drop(series, "denied")
        waiting = sum(series.untold for series in ledger._series.values())
        assert recorded == told + waiting + ledger.dropped.total()


@given(st.lists(st.floats(0.0, 900.0), min_size=30, max_size=80))
@examples(200)
def test_no_pod_is_written_about_more_often_than_its_limit(pauses):
    """In any stretch of time: 25 writes and one for each five minutes of it."""
    ledger, now_s, times = Ledger(), 0.0, []
    for number, pause_s in enumerate(pauses):
        now_s += pause_s
        for container in ("a", "b", "c"):
            record(ledger, now_s, KEY._replace(container=container, cause=str(number % 3)))
        times += [at_s for at_s, _, _ in written(ledger, now_s, now_s)]
    assert_limited(times)


def assert_limited(times: list[float]) -> None:
    """Check all stretches of time between two writes."""
    for index, start_s in enumerate(times):
        for count, at_s in enumerate(times[index:], start=1):
            assert count <= BURST + (at_s - start_s) / REFILL_S + 1e-6


def test_buckets_forget_the_object_unused_for_longest():
    """The limits of more objects than a node can have at a time are not kept."""
    buckets = Buckets()
    for _ in range(BURST):
        buckets.take("uid", now_s=0.0)
    assert buckets.ready_s("uid") == REFILL_S
    for number in range(MAX_OBJECTS):
        buckets.take(str(number), now_s=0.0)
    assert buckets.ready_s("uid") < 0.0
    assert len(buckets._empty_s) == MAX_OBJECTS


def test_times_of_writes_never_run_backwards():
    """The order of what is written is the order in which it is due."""
    ledger = Ledger()
    for number in range(50):
        record(ledger, number, KEY._replace(uid=f"uid-{number % 5}"))
    times = [at_s for at_s, _, _ in written(ledger, 1_000.0)]
    assert all(one <= other for one, other in pairwise(times))

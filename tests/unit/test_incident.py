from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import Group, Source
from oomtracer.pipeline.incident import Incidents, Said, group_of

from .builders import examples, kill, limit, trigger


def of(tid: int, at_ns: int = 0, **changes):
    """Build a kill by this trigger at this time."""
    return kill(trigger=trigger(tid=tid), boot_time_ns=at_ns, **changes)


def test_a_group_kill_is_one_incident_numbered_from_the_chosen_process():
    """The process the kernel chose is 0, members count from 1, all under the first one's id."""
    incidents = Incidents()
    first = incidents.open(of(7), "first", limit(), group=True)
    groups = [group_of(first, member=False)]
    for _ in range(4):
        member = incidents.join(of(7))
        assert member is first
        groups.append(group_of(member, member=True))
    assert groups == [Group(id="first", index=index) for index in range(5)]


def test_members_whose_first_is_unknown_still_count_from_one():
    """Where the chosen process was not seen as one of a group, members are not numbered as the chosen."""
    incident = Incidents().open(of(7), "first", None, group=False)
    assert [group_of(incident, member=True).index for _ in range(3)] == [1, 2, 3]


def test_a_kill_outside_a_group_has_none():
    """Without memory.oom.group there is no group, and none appears with a sharer of the memory."""
    incident = Incidents().open(of(7), "first", limit(), group=False)
    assert group_of(incident, member=False) is None


def test_interleaved_triggers_keep_their_own_incidents():
    """Members join the last invocation of their own trigger, whatever comes in between."""
    incidents = Incidents()
    one, two = (incidents.open(of(tid), f"of {tid}", None, group=True) for tid in (1, 2))
    assert [incidents.join(of(tid)) for tid in (1, 2, 1, 2)] == [one, two, one, two]
    again = incidents.open(of(1), "again", None, group=True)
    assert incidents.join(of(1)) is again
    assert incidents.join(of(2)) is two
    assert incidents.join(of(3)) is None


def test_memory_of_incidents_is_bounded():
    """Of very many triggers the last 64 are remembered."""
    incidents = Incidents()
    for tid in range(10_000):
        incidents.open(of(tid), str(tid), None, group=False)
    assert incidents.join(of(9_999 - 64)) is None
    assert [incidents.join(of(tid)).id for tid in range(9_936, 10_000)] == [
        str(tid) for tid in range(9_936, 10_000)
    ]


@given(st.lists(st.integers(0, 300), max_size=400))
@examples(100)
def test_the_newest_triggers_are_remembered_whatever_their_order(tids):
    """Triggers may come again at any time: the last ones are known, the newest always."""
    incidents = Incidents()
    for number, tid in enumerate(tids):
        incidents.open(of(tid), str(number), None, group=False)
        assert incidents.join(of(tid)).id == str(number)
    assert len(incidents._by_trigger) <= 64
    newest = list(dict.fromkeys(reversed(tids)))[:64]
    assert all(incidents.join(of(tid)) for tid in newest)


def test_what_comes_later_is_another_invocation():
    """A member long after the last victim of its trigger belongs to a run whose first record was lost."""
    incidents = Incidents()
    first = incidents.open(of(7), "first", None, group=True)
    assert incidents.join(of(7, 4_000_000_000)) is first
    assert incidents.join(of(7, 8_000_000_000)) is first
    assert incidents.join(of(7, 14_000_000_000)) is None


def test_an_incident_keeps_what_the_kernel_said_of_it():
    """Source, constraint, order and flags are those of the first victim's record."""
    first = of(7, source=Source.KPROBE, constraint=3, order=1, gfp_mask=2)
    incident = Incidents().open(first, "first", None, group=True)
    assert incident.said == Said(Source.KPROBE, 3, 1, 2)

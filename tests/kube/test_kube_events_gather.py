from __future__ import annotations

import pytest

from oomtracer.sinks.kube_events.gather import (
    MAX_OPEN,
    MAX_REMEMBERED,
    MAX_SETTLE_S,
    SETTLE_S,
    Gathering,
)
from oomtracer.sinks.kube_events.subject import node_subject, pod_subject
from tests.unit.builders import victim

from .event_scene import NODE, kill, pod


def gather(gathering: Gathering, now_s: float, number: int = 0, *, of: int = 0, **changes) -> bool:
    """Add one kill."""
    report = kill(pod(of), number, **changes)
    return gathering.add(report, pod_subject(report.workload, pod(of)), pod(of), now_s=now_s)


def test_an_incident_is_complete_when_no_process_follows():
    """Half a second after its last process, three seconds after its first at the latest."""
    gathering = Gathering()
    for now_s in (0.0, 0.3, 0.6):
        gather(gathering, now_s, incident="i")
        assert gathering.complete(now_s) == []
        assert gathering.next_s() == now_s + SETTLE_S
    assert [incident.processes for incident in gathering.complete(0.6 + SETTLE_S)] == [3]
    for tenth in range(40):
        gather(gathering, 10.0 + tenth / 10, incident="j")
    assert gathering.next_s() == 10.0 + MAX_SETTLE_S
    assert len(gathering) == 1


def test_an_incident_in_two_pods_is_told_on_each_of_them():
    """No pod's Event tells what another one lost."""
    gathering = Gathering()
    for of in (0, 1, 1):
        gather(gathering, 0.0, of=of, incident="i")
    told = gathering.complete(1.0)
    assert [(each.subject.name, each.processes) for each in told] == [("shop-0", 1), ("shop-1", 2)]


def test_what_comes_after_its_incident_was_told_is_late():
    """An Event cannot be changed, and a second one of the same name would be refused."""
    gathering = Gathering()
    assert gather(gathering, 0.0, incident="i")
    gathering.complete(1.0)
    assert not gather(gathering, 1.1, 1, incident="i")
    assert gather(gathering, 1.1, 1, incident="i", of=1)
    assert gather(gathering, 1.1, 1, incident="j")


def test_the_process_that_the_kernel_chose_is_the_one_named():
    """Whatever order the names became known in."""
    gathering = Gathering()
    for number in (2, 0, 1):
        gather(gathering, 0.0, number, incident="boot:41000:1")
    [incident] = gathering.complete(1.0)
    assert incident.head.victim.pid == 41_000


@pytest.mark.parametrize(
    ("died", "whole"),
    [
        ([None, None], None),
        ([False, None], False),
        ([None, False], False),
        ([False, True], True),
        ([True, False], True),
        ([True, None], True),
    ],
)
def test_one_dead_main_process_is_enough(died, whole):
    """Of many processes at most one is PID 1; what is not known of one may be known of another."""
    gathering = Gathering()
    for number, each in enumerate(died):
        gather(gathering, 0.0, number, incident="i", init_died=each)
    assert gathering.complete(1.0)[0].init_died is whole


def test_sizes_add_up_and_unknown_ones_do_not():
    """What all held is a sum of what is known of all."""
    gathering = Gathering()
    for number, shmem in enumerate((1, 2, 3)):
        same = victim(anon_rss_bytes=100, file_rss_bytes=10, shmem_rss_bytes=shmem)
        gather(gathering, 0.0, number, incident="i", victim=same)
    assert gathering.complete(1.0)[0].resident_bytes == 336
    gather(gathering, 2.0, incident="j", victim=victim(file_rss_bytes=None))
    gather(gathering, 2.0, 1, incident="j")
    assert gathering.complete(3.0)[0].resident_bytes is None


def test_gathering_is_bounded():
    """Too many incidents at a time: the oldest is told as it is. Too many told ones: the oldest is forgotten."""
    gathering = Gathering()
    for number in range(MAX_OPEN + 1):
        gather(gathering, 0.0, incident=f"i{number}")
    assert gathering.next_s() == 0.0
    assert [incident.head.incident for incident in gathering.complete(0.0)] == ["i0"]
    for number in range(1, MAX_REMEMBERED + MAX_OPEN):
        gather(gathering, float(number), incident=f"i{number}")
        gathering.complete(float(number))
    assert len(gathering._told) == MAX_REMEMBERED
    assert len(gathering) <= MAX_OPEN


def test_the_node_and_a_pod_are_gathered_apart():
    """A node out of memory is told on the node too, with all that it killed."""
    gathering = Gathering()
    for of in (0, 1):
        report = kill(pod(of), incident="i")
        gathering.add(report, node_subject(NODE), None, now_s=0.0)
        gather(gathering, 0.0, of=of, incident="i")
    told = {incident.subject.name: incident.processes for incident in gathering.complete(1.0)}
    assert told == {NODE: 2, "shop-0": 1, "shop-1": 1}

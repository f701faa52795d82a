from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from oomtracer.sinks.kube_events.bucket import BURST
from oomtracer.sinks.kube_events.gather import SETTLE_S
from oomtracer.sinks.kube_events.ledger import WAIT_S
from oomtracer.sinks.kube_events.writer import FORBIDDEN_S, INTERVAL_S

from .event_scene import EXISTS, Scene, answering, counts, gaps, kill, pod, refusing, take
from .scripted_api import DENIED, DOWN, OVERLOAD, UNREACHABLE, status
from .virtual_time import now, run_virtual

NO_RIGHT = status(
    403,
    "Forbidden",
    'events.events.k8s.io is forbidden: User "agent" cannot create resource "events" in API group',
)
TERMINATING = status(
    403,
    "Forbidden",
    "unable to create new content",
    causes=[{"reason": "NamespaceTerminating", "message": "is being terminated"}],
)
INVALID = status(422, "Invalid", 'Event "x" is invalid: reason: Required value')


def lines(caplog) -> list[str]:
    """Collect what was said."""
    return [record.getMessage() for record in caplog.records if record.name == "oomtracer.events"]


@pytest.fixture(autouse=True)
def _everything(caplog):
    caplog.set_level(logging.DEBUG, logger="oomtracer.events")


def test_a_lost_answer_makes_no_second_event():
    """A POST that was applied although no answer came is sent again, and finds its own Event: that is success."""

    async def main():
        async with Scene(answering(UNREACHABLE, EXISTS)) as scene:
            scene.sink.emit(kill())
            await scene.settle()
            one, other = scene.created
            assert one.document == other.document
            assert (scene.sink.sent, scene.dropped) == (1, {})

    run_virtual(main())


def test_the_count_of_an_event_that_was_there_is_brought_up_to_date():
    """Which count the lost attempt carried is not known."""

    async def main():
        async with Scene(answering(UNREACHABLE, EXISTS)) as scene:
            scene.sink.emit(kill())
            await scene.until(lambda: bool(scene.api.requests))
            scene.sink.emit(kill(None, 1))
            await asyncio.sleep(SETTLE_S)
            await scene.settle()
            assert counts(scene.patched) == [2]

    run_virtual(main())


def test_an_outage_is_waited_for(caplog):
    """What the API server cannot take now is told when it is back, and the outage is said once."""

    async def main():
        is_down = True
        async with Scene(lambda request: UNREACHABLE if is_down else take(request)) as scene:
            for number in range(5):
                scene.sink.emit(kill(pod(number), number))
            started_s = now()
            await asyncio.sleep(60.0)
            assert len(scene.api.requests) < 20
            is_down = False
            await scene.settle()
            assert now() - started_s < 120.0
            assert (scene.sink.sent, scene.dropped) == (5, {})

    run_virtual(main())
    assert lines(caplog) == [
        "Events wait for the API server: connection refused",
        "the API server takes Events again",
    ]


def test_an_outage_leaves_no_impatience_behind():
    """After a success the waits begin anew, and short."""

    async def main():
        is_down = True
        async with Scene(lambda request: UNREACHABLE if is_down else take(request)) as scene:
            scene.sink.emit(kill())
            await asyncio.sleep(200.0)
            is_down = False
            await scene.settle()
            is_down = True
            scene.api.requests.clear()
            scene.sink.emit(kill(pod(1), 1))
            await asyncio.sleep(5.0)
            assert gaps(scene.api.requests)[0] < 1.5 * INTERVAL_S

    run_virtual(main())


def test_an_outage_is_not_waited_for_for_ever():
    """After an hour of failures an Event is given up, and counted."""

    async def main():
        async with Scene(lambda _: DOWN) as scene:
            scene.sink.emit(kill())
            await scene.settle()
            first, last = scene.api.requests[0], scene.api.requests[-1]
            assert WAIT_S - 60 <= last.at_s - first.at_s <= WAIT_S
            assert (scene.sink.sent, scene.dropped) == (0, {"unreachable": 1})
            assert len(scene.api.requests) < 300

    run_virtual(main())


def test_a_long_outage_is_why_its_kills_are_not_told():
    """60 pods, most of which never had a turn: none of them was told too often."""

    async def main():
        async with Scene(lambda _: UNREACHABLE) as scene:
            for number in range(60):
                scene.sink.emit(kill(pod(number), number))
            await scene.settle()
            assert scene.dropped == {"unreachable": 60}

    run_virtual(main())


def test_a_failure_that_is_over_is_not_why_a_pod_is_told_of_no_more():
    """Once the API server answers, a pod's own limit is what holds its Events back."""

    async def main():
        async with Scene(answering(UNREACHABLE)) as scene:
            for number in range(BURST + 30):
                scene.sink.emit(kill(None, number, container=f"c{number}"))
            await scene.settle()
            assert scene.dropped == {"pod_limit": 19}

    run_virtual(main())


def test_what_had_no_turn_in_an_outage_is_told_after_it():
    """An Event that was not tried is not given up as one that failed is."""

    async def main():
        is_down = True
        async with Scene(lambda request: UNREACHABLE if is_down else take(request)) as scene:
            for number in range(60):
                scene.sink.emit(kill(pod(number), number))
            await asyncio.sleep(400.0)
            is_down = False
            await scene.settle()
            assert (scene.sink.sent, scene.dropped) == (60, {})

    run_virtual(main())


def test_the_server_is_left_alone_for_as_long_as_it_asks():
    """Retry-After counts, for all Events."""
    busy = replace(OVERLOAD, headers={"retry-after": "20"})

    async def main():
        async with Scene(answering(busy)) as scene:
            scene.sink.emit(kill())
            scene.sink.emit(kill(pod(1), 1))
            await scene.settle()
            assert gaps(scene.api.requests)[0] >= 20.0
            assert scene.sink.sent == 2

    run_virtual(main())


def test_a_namespace_that_is_deleted_is_no_error(caplog):
    """Nothing can be created there any more; that is counted and not worth a line."""

    async def main():
        async with Scene(answering(TERMINATING)) as scene:
            scene.sink.emit(kill())
            await scene.settle()
            assert scene.dropped == {"namespace_gone": 1}
            assert len(scene.api.requests) == 1

    run_virtual(main())
    assert lines(caplog) == []


@pytest.mark.parametrize(("answer", "reason"), [(INVALID, "invalid"), (DENIED, "denied")])
def test_what_is_refused_for_good_is_not_tried_again(caplog, answer, reason):
    """A request that cannot succeed is counted, said once, and never repeated; others go on."""

    async def main():
        async with Scene(answering(answer, answer)) as scene:
            for number in range(3):
                scene.sink.emit(kill(pod(number), number))
            await scene.settle()
            assert len(scene.api.requests) == 3
            assert (scene.sink.sent, scene.dropped) == (1, {reason: 2})

    run_virtual(main())
    [line] = lines(caplog)
    assert line.startswith(f"an Event was refused as {reason}, others may be too: HTTP 4")


def test_without_the_right_nothing_is_sent_for_ten_minutes(caplog):
    """The missing rule is said once; what comes meanwhile is counted; later it is tried again, and may work."""

    async def main():
        is_allowed = False
        async with Scene(lambda request: take(request) if is_allowed else NO_RIGHT) as scene:
            for number in range(100):
                scene.sink.emit(kill(pod(number), number))
                await asyncio.sleep(10.0)
            await scene.settle()
            assert len(scene.api.requests) == 2
            assert min(gaps(scene.api.requests)) >= FORBIDDEN_S
            assert scene.dropped == {"forbidden": 100}
            is_allowed = True
            await asyncio.sleep(FORBIDDEN_S)
            scene.sink.emit(kill(None, 500))
            await scene.settle()
            assert scene.sink.sent == 1

    run_virtual(main())
    missing, works = lines(caplog)
    assert 'cannot create resource "events"' in missing
    assert missing.endswith("apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]")
    assert works == "the API server takes Events again"


def test_the_right_to_create_is_worth_something_without_the_one_to_patch():
    """If an Event cannot count, each kill has an Event of its own."""

    async def main():
        async with Scene(refusing(NO_RIGHT, method="PATCH")) as scene:
            for number in range(5):
                scene.sink.emit(kill(None, number))
                await scene.settle()
            assert counts(scene.created) == [1, 1, 1]
            assert len(scene.patched) == 1
            assert scene.dropped == {"forbidden": 2}

    run_virtual(main())


def test_a_right_in_one_namespace_is_used():
    """An account may have the right in some namespaces alone."""
    elsewhere = replace(pod(1), namespace="bank")

    async def main():
        async with Scene(lambda request: NO_RIGHT if "/bank/" in request.path else take(request)) as scene:
            scene.pods[elsewhere.uid] = elsewhere
            for number in range(3):
                scene.sink.emit(kill(elsewhere, number, container=f"c{number}"))
                scene.sink.emit(kill(pod(2), 10 + number, container=f"c{number}"))
            await scene.settle()
            assert (scene.sink.sent, scene.dropped) == (3, {"forbidden": 3})
            assert len(scene.api.requests) == 4

    run_virtual(main())


def test_a_defect_costs_one_event(caplog):
    """What fails in an unexpected way is logged and counted; the Events behind it are told."""

    def decision_of(report):
        if report.victim.pid == 41_000:
            raise RuntimeError("a defect")

    async def main():
        async with Scene(decision_of=decision_of) as scene:
            scene.sink.emit(kill())
            scene.sink.emit(kill(pod(1), 1))
            await scene.settle()
            assert (scene.sink.sent, scene.dropped) == (1, {"defect": 1})
            scene.api.script = answering(RuntimeError("another"))
            scene.sink.emit(kill(pod(2), 2))
            scene.sink.emit(kill(pod(3), 3))
            await scene.settle()
            assert (scene.sink.sent, scene.dropped) == (2, {"defect": 2})
            assert scene.is_running

    run_virtual(main())
    assert len(lines(caplog)) == 2

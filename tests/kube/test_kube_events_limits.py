from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from oomtracer.sinks.kube_events import DROP_REASONS
from oomtracer.sinks.kube_events.gather import SETTLE_S
from oomtracer.sinks.kube_events.ledger import MAX_SERIES, WAIT_S
from oomtracer.sinks.kube_events.sink import FLUSH_S
from oomtracer.sinks.kube_events.writer import INTERVAL_S

from .event_scene import EXISTS, Scene, answering, counts, gaps, kill, pod
from .scripted_api import DOWN, OVERLOAD, UNREACHABLE
from .virtual_time import now, run_virtual


def lines(caplog) -> list[str]:
    """Collect what was said."""
    return [record.getMessage() for record in caplog.records if record.name == "oomtracer.events"]


# ------------------------------------------------------------------------------------------ limits


STORM = 500


def test_a_storm_is_told_at_one_event_a_second():
    """A kill in each of 500 pods at once: all are told, none is dropped, and no two writes come in a second."""

    async def main():
        async with Scene() as scene:
            for number in range(STORM):
                scene.sink.emit(kill(pod(number), number))
            await scene.settle()
            assert min(gaps(scene.api.requests)) >= INTERVAL_S
            assert len({request.document["regarding"]["name"] for request in scene.created}) == STORM
            assert (scene.sink.sent, scene.dropped) == (STORM, {})

    run_virtual(main())


def test_the_counts_of_a_storm_are_told_after_its_first_words():
    """A second kill in each of 500 pods waits longer than six minutes, and is told all the same."""

    async def main():
        async with Scene() as scene:
            for number in range(STORM):
                scene.sink.emit(kill(pod(number), number))
            await scene.until(lambda: len(scene.created) > 30)
            for number in range(30):
                scene.sink.emit(kill(pod(number), STORM + number))
            await scene.settle()
            assert counts(scene.patched) == [2] * 30
            assert scene.patched[0].at_s > scene.created[-1].at_s
            assert (scene.sink.sent, scene.dropped) == (STORM, {})

    run_virtual(main())


def test_a_storm_in_many_pods_is_bounded():
    """What a node cannot have pods for is not kept: the surplus is counted."""

    async def main():
        async with Scene() as scene:
            for number in range(MAX_SERIES + 100):
                container = f"c{number // 600}"
                scene.sink.emit(kill(pod(number % 600), number, container=container))
            await scene.until(lambda: scene.sink.pending == 0, within_s=2 * WAIT_S)
            dropped = scene.dropped.pop("queue_full")
            assert 0 < dropped <= 100
            assert scene.sink.sent + dropped == MAX_SERIES + 100

    run_virtual(main())


def test_marks_go_first():
    """While a mark waits for the right to write, Events do not even queue for it: no mark ever waits for them."""

    async def main():
        async with Scene(qps=0.5) as scene:
            marked_at_s = []

            async def mark():
                await scene.limiter.acquire()
                marked_at_s.append(now())

            marks = [asyncio.create_task(mark()) for _ in range(3)]
            scene.sink.emit(kill())
            await asyncio.sleep(2 * SETTLE_S)
            marks += [asyncio.create_task(mark()) for _ in range(2)]
            await scene.settle()
            await asyncio.gather(*marks)
            [request] = scene.api.requests
            assert len(marked_at_s) == 5
            assert request.at_s >= max(marked_at_s) + 1.9

    run_virtual(main())


def test_nobody_waits_for_an_event():
    """Reports are taken at once while a request hangs."""

    async def main():
        async with Scene() as scene:
            scene.api.delay_s = 15.0
            scene.sink.emit(kill())
            await scene.until(lambda: bool(scene.api.requests))
            started_s = now()
            for number in range(1_000):
                scene.sink.emit(kill(pod(number % 500), number))
            assert now() == started_s
            scene.api.delay_s = 0.01

    run_virtual(main())


# -------------------------------------------------------------------------------------------- stop


def test_what_is_due_is_told_at_the_end():
    """A kill of the last instant is not lost with the agent, nor is the last count of a series."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(kill())
            await scene.settle()
            for number in range(1, 4):
                scene.sink.emit(kill(None, number))
            scene.sink.emit(kill(pod(1), 9))
            started_s = now()
            await scene.stop()
            assert now() - started_s < FLUSH_S
            assert counts(scene.patched) == [4]
            assert (scene.sink.sent, scene.dropped, scene.sink.pending) == (2, {}, 0)

    run_virtual(main())


@pytest.mark.parametrize(("delay_s", "requests"), [(0.01, 2), (60.0, 1)])
def test_the_end_does_not_wait_for_a_server_that_is_away(delay_s, requests, caplog):
    """After two seconds what is left is counted and said, and the agent goes."""

    async def main():
        async with Scene(lambda _: UNREACHABLE) as scene:
            scene.api.delay_s = delay_s
            for number in range(3):
                scene.sink.emit(kill(pod(number), number))
            started_s = now()
            await scene.stop()
            assert now() - started_s <= FLUSH_S + 0.1
            assert len(scene.api.requests) == requests
            assert scene.dropped == {"stopped": 3}

    run_virtual(main())
    assert lines(caplog)[-1] == "stopping: 3 pending Events were not told"


def test_at_the_end_a_server_that_is_busy_is_asked_again(caplog):
    """One refusal costs nothing if the server wants to be asked again within the two seconds."""

    async def main():
        async with Scene(answering(DOWN)) as scene:
            for number in range(3):
                scene.sink.emit(kill(pod(number), number))
            started_s = now()
            await scene.stop()
            assert INTERVAL_S <= now() - started_s < FLUSH_S
            assert gaps(scene.api.requests)[0] >= INTERVAL_S
            assert (scene.sink.sent, scene.dropped) == (3, {})

    run_virtual(main())
    assert not any("stopping" in line for line in lines(caplog))


def test_at_the_end_a_wait_that_has_begun_goes_on():
    """A server that failed just before the end is left alone for as long as there is time."""

    async def main():
        async with Scene(answering(DOWN)) as scene:
            scene.sink.emit(kill())
            await scene.until(lambda: bool(scene.api.requests))
            await asyncio.sleep(0.1)
            await scene.stop()
            assert gaps(scene.api.requests)[0] >= INTERVAL_S
            assert (scene.sink.sent, scene.dropped) == (1, {})

    run_virtual(main())


def test_the_end_is_not_delayed_by_a_wait_that_is_too_long(caplog):
    """A server that asks for more time than there is has one more try, and the agent goes at once."""
    busy = replace(OVERLOAD, headers={"retry-after": "20"})

    async def main():
        async with Scene(lambda _: busy) as scene:
            scene.sink.emit(kill())
            await scene.until(lambda: bool(scene.api.requests))
            await asyncio.sleep(3.0)
            scene.sink.emit(kill(None, 1))
            scene.sink.emit(kill(pod(1), 2))
            started_s = now()
            await scene.stop()
            assert now() - started_s < 0.1
            assert len(scene.api.requests) == 2
            assert scene.dropped == {"stopped": 3}

    run_virtual(main())
    assert lines(caplog)[-1] == "stopping: 2 pending Events were not told"


def test_an_event_under_way_at_the_end_is_sent_again():
    """A request that is cut off may have been applied or not: the same Event is sent once more."""

    async def main():
        async with Scene() as scene:
            scene.api.delay_s = 5.0
            scene.sink.emit(kill())
            await scene.until(lambda: bool(scene.api.requests))
            scene.api.delay_s = 0.01
            scene.api.script = answering(EXISTS)
            await scene.stop()
            one, other = scene.created
            assert one.document == other.document
            assert (scene.sink.sent, scene.dropped) == (1, {})

    run_virtual(main())


def test_every_reason_is_known_beforehand():
    """Metrics begin at 0 for every reason that there can be."""

    async def main():
        async with Scene() as scene:
            assert set(scene.sink.dropped) <= set(DROP_REASONS)
            assert len(set(DROP_REASONS)) == len(DROP_REASONS)

    run_virtual(main())

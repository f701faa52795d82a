from __future__ import annotations

import asyncio

import pytest

from oomtracer.sinks.kube_events import DROP_REASONS
from oomtracer.sinks.kube_events.gather import SETTLE_S
from oomtracer.sinks.kube_events.series import MAX_SERIES
from oomtracer.sinks.kube_events.sink import FLUSH_S
from oomtracer.sinks.kube_events.writer import INTERVAL_S

from .event_scene import EXISTS, Scene, answering, counts, gaps, kill, pod
from .scripted_api import UNREACHABLE
from .virtual_time import now, run_virtual

# ------------------------------------------------------------------------------------------ limits


def test_a_storm_is_told_at_one_event_a_second():
    """300 kills in as many pods: the queue takes most, the rest is counted, and no two writes come in a second."""

    async def main():
        async with Scene() as scene:
            for number in range(300):
                scene.sink.emit(kill(pod(number), number))
            await scene.settle()
            assert min(gaps(scene.api.requests)) >= INTERVAL_S
            assert scene.sink.sent + scene.dropped["queue_full"] == 300
            assert scene.sink.sent >= MAX_SERIES

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


@pytest.mark.parametrize("delay_s", [0.01, 60.0])
def test_the_end_does_not_wait_for_a_server_that_is_away(delay_s):
    """After two seconds what is left is counted, and the agent goes."""

    async def main():
        async with Scene(lambda _: UNREACHABLE) as scene:
            scene.api.delay_s = delay_s
            for number in range(3):
                scene.sink.emit(kill(pod(number), number))
            started_s = now()
            await scene.stop()
            assert now() - started_s <= FLUSH_S + 0.1
            assert len(scene.api.requests) == 1
            assert scene.dropped == {"stopped": 3}

    run_virtual(main())


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

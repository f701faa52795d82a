"""Three hundred marks at once, in virtual time: exact, whatever the machine is busy with."""

from __future__ import annotations

import asyncio
import random

import pytest

from oomtracer.kube.limiter import WriteLimiter

from .mark_scene import APPLIED, Node, kill_of
from .scripted_api import OK, OVERLOAD, UNREACHABLE, ScriptedApi
from .virtual_time import now, run_virtual

STORM = 300
QPS, BURST = 5.0, 10
LAST_S = (STORM - BURST) / QPS


def storm(script) -> Node:
    """Kill a process in each of the pods at the same moment."""
    limiter = WriteLimiter(qps=QPS, burst=BURST, clock=now)
    return Node(ScriptedApi(script), pods=STORM, limiter=limiter)


def first_tries(node: Node) -> dict[str, float]:
    """Note when each pod's first request came, in seconds since the start."""
    times: dict[str, float] = {}
    for request in node.api.requests:
        times.setdefault(request.pod, request.at_s - 1_000)
    return times


def due_s(number: int) -> float:
    """Compute when the limit lets the n-th of many go, counted from 0."""
    return max(0.0, (number - BURST + 1) / QPS)


def test_a_storm_keeps_to_the_rate_and_wastes_none_of_it():
    """The n-th mark is sent when the limit allows it, to the hundredth of a second, and each pod gets one."""

    async def main():
        async with storm(lambda _: OK) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert node.counted == {APPLIED: STORM}
            assert [request.pod for request in node.api.requests] == [pod.name for pod in node.pods]
            for number, time_s in enumerate(first_tries(node).values()):
                assert time_s == pytest.approx(due_s(number), abs=0.01)

    run_virtual(main())


def test_no_pod_waits_because_another_one_is_retried():
    """With a third of the pods failing for minutes, each pod's first try is as early as if none failed."""
    bad = {f"shop-{number}" for number in range(0, STORM, 3)}

    def script(request):
        return OVERLOAD if request.pod in bad and request.at_s < 1_300 else OK

    async def main():
        async with storm(script) as node:
            made_s = {}
            node.sink.on_marked.append(lambda _, pod: made_s.setdefault(pod.name, now() - 1_000))
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert node.counted == {APPLIED: STORM}
            for number, time_s in enumerate(first_tries(node).values()):
                assert time_s == pytest.approx(due_s(number), abs=0.01)
            assert all(made_s[name] < LAST_S + 0.1 for name in made_s.keys() - bad)
            assert node.api.most == 1

    run_virtual(main())


def test_a_kill_among_many_retries_is_sent_at_once():
    """While 299 marks are being retried without end, that of a new kill waits for two turns at most."""

    def script(request):
        return OK if request.pod == "shop-299" else OVERLOAD

    async def main():
        async with storm(script) as node:
            for pod in node.pods[:-1]:
                node.sink.emit(kill_of(pod))
            await asyncio.sleep(120)
            assert node.limiter.waiting
            made_s = []
            node.sink.on_marked.append(lambda *_: made_s.append(now()))
            killed_s = now()
            node.sink.emit(kill_of(node.pods[-1]))
            await asyncio.sleep(10)
            assert made_s[0] - killed_s < 2 / QPS + 0.02

    run_virtual(main())


def test_a_storm_in_an_outage_comes_through_at_the_rate():
    """All wait out an outage of ten minutes, then go out within the limit; none is lost, none sent twice at once."""
    end_s = 1_600.0
    dice = random.Random(1)

    def script(request):
        return OK if request.at_s > end_s else dice.choice([OVERLOAD, UNREACHABLE])

    async def main():
        async with storm(script) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert node.counted == {APPLIED: STORM}
            assert now() < end_s + LAST_S + 60
            times = [request.at_s for request in node.api.requests]
            for first, last in zip(times, times[BURST + 50 :], strict=False):
                assert last - first > 50 / QPS - 0.1
            assert node.api.most == 1

    run_virtual(main())


def test_the_same_kills_told_again_send_nothing_more():
    """However often the reports of the storm come back, each pod is patched once."""

    async def main():
        async with storm(lambda _: OK) as node:
            reports = [kill_of(pod) for pod in node.pods]
            for _ in range(3):
                for report in reports:
                    node.sink.emit(report)
                await asyncio.sleep(10)
            await node.settle()
            assert len(node.api.requests) == STORM
            assert node.counted == {APPLIED: STORM}

    run_virtual(main())

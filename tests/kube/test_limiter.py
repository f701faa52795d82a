from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.limiter import WriteLimiter

from .virtual_time import now, run_virtual

QPS, BURST = 5.0, 10
EPSILON_S = 1e-6


def limiter(qps: float = QPS, burst: int = BURST) -> WriteLimiter:
    """Build one in virtual time."""
    return WriteLimiter(qps=qps, burst=burst, clock=now)


async def passed_at(one: WriteLimiter, arrivals_s: list[float]) -> list[tuple[int, float]]:
    """Let writers come at these times; in the order of passing, who passed when."""
    passed: list[tuple[int, float]] = []
    start_s = now()

    async def write(number: int, arrival_s: float) -> None:
        await asyncio.sleep(arrival_s)
        await one.acquire()
        passed.append((number, now() - start_s))

    await asyncio.gather(*[write(number, arrival_s) for number, arrival_s in enumerate(arrivals_s)])
    return passed


@given(
    arrivals_s=st.lists(st.integers(0, 20_000).map(lambda ms: ms / 1000), max_size=60).map(sorted),
    qps=st.floats(0.1, 100),
    burst=st.integers(1, 20),
)
def test_no_window_of_time_sees_more_than_burst_and_rate(arrivals_s, qps, burst):
    """Between any two writes there were at most burst + qps * time of them, in the order in which they came."""
    passed = run_virtual(passed_at(limiter(qps, burst), arrivals_s))
    times_s = [time_s for _, time_s in passed]
    for first, start_s in enumerate(times_s):
        for last in range(first, len(times_s)):
            assert last - first + 1 <= burst + qps * (times_s[last] - start_s + EPSILON_S) + EPSILON_S
    assert [arrivals_s[number] for number, _ in passed] == arrivals_s


def test_a_burst_passes_at_once_and_the_rest_at_the_rate():
    """A storm's first writes wait for nothing; the following ones come one by one."""
    passed = run_virtual(passed_at(limiter(), [0.0] * 20))
    times_s = [time_s for _, time_s in passed]
    assert times_s[:BURST] == [0.0] * BURST
    for before_s, after_s in pairwise(times_s[BURST - 1 :]):
        assert after_s - before_s == pytest.approx(1 / QPS, abs=EPSILON_S)


def test_nobody_waits_longer_than_needed():
    """After a pause the whole burst is there again, and not more."""
    passed = run_virtual(passed_at(limiter(), [0.0] * BURST + [100.0] * (BURST + 1)))
    late_s = [time_s - 100.0 for _, time_s in passed[BURST:]]
    assert late_s == pytest.approx([0.0] * BURST + [1 / QPS], abs=EPSILON_S)


def test_first_come_first_served():
    """Writers pass in the order in which they asked."""
    passed = run_virtual(passed_at(limiter(burst=1), [0.0] * 30))
    assert [number for number, _ in passed] == list(range(30))


def test_who_is_cancelled_has_used_nothing():
    """A cancelled writer, waiting for its turn or for its time, gives its place to the next."""

    async def scene() -> float:
        one = limiter(burst=1)
        await one.acquire()
        start_s = now()
        given_up = [asyncio.create_task(one.acquire()) for _ in range(5)]
        kept = asyncio.create_task(one.acquire())
        await asyncio.sleep(0.1 / QPS)
        assert one.waiting == 6
        for task in given_up:
            task.cancel()
        await kept
        assert one.waiting == 0
        return now() - start_s

    assert run_virtual(scene()) == pytest.approx(1 / QPS, abs=EPSILON_S)


def test_the_queue_is_counted():
    """``waiting`` is the number of writers that have asked and not passed."""

    async def scene() -> list[int]:
        one = limiter(burst=2)
        tasks = [asyncio.create_task(one.acquire()) for _ in range(4)]
        seen = []
        for _ in range(3):
            await asyncio.sleep(1.01 / QPS)
            seen.append(one.waiting)
        await asyncio.gather(*tasks)
        return seen

    assert run_virtual(scene()) == [1, 0, 0]

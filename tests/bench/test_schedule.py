from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from bench.schedule import ideal_schedule
from oomtracer.kube.limiter import WriteLimiter

SECOND_NS = 1_000_000_000
GAPS_NS = st.lists(st.integers(0, 3 * SECOND_NS), max_size=30)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Now, in seconds."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Let so much pass."""
        self.now_s += seconds


def times_of(gaps_ns: list[int]) -> list[int]:
    """Times in order, from what lies between them."""
    return [sum(gaps_ns[: i + 1]) for i in range(len(gaps_ns))]


@given(GAPS_NS, st.integers(1, 50), st.integers(1, 20))
def test_the_schedule_is_what_the_limiter_itself_does(gaps_ns, qps, burst):
    """One writer after the other, each as soon as it may: the same times, but for rounding."""

    async def write() -> list[float]:
        clock = Clock()
        limiter = WriteLimiter(qps=qps, burst=burst, clock=clock, sleep=clock.sleep)
        passed = []
        for asked_ns in times_of(gaps_ns):
            clock.now_s = max(clock.now_s, asked_ns / 1e9)
            await limiter.acquire()
            passed.append(clock.now_s)
        return passed

    ideal = ideal_schedule(times_of(gaps_ns), qps=qps, burst=burst)
    passed = asyncio.run(write())
    assert len(ideal) == len(passed)
    assert all(abs(i / 1e9 - p) < 1e-6 for i, p in zip(ideal, passed, strict=True))


def test_a_storm_at_the_default_rate_takes_58_seconds():
    """300 at once, 10 go at once, then 5 a second."""
    schedule = ideal_schedule([0] * 300, qps=5, burst=10)
    assert schedule[9] == 0
    assert schedule[-1] == 58 * SECOND_NS

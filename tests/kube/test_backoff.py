from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.backoff import MAX_RETRY_AFTER_S, Backoff

FAILURE_S = 60.0
SEEDS = 10_000


def requests_during_failure(backoff: Backoff, *, retry_after_s: float | None = None) -> int:
    """Ask at once, and again after each wait, while everything fails without taking any time."""
    now_s, requests = 0.0, 0
    while now_s < FAILURE_S:
        requests += 1
        now_s += backoff.next_s(retry_after_s)
    return requests


def test_a_minute_of_failure_costs_fewer_than_20_requests_whatever_the_dice():
    """No seed of many reaches 20 requests, and neither do dice that always ask for the shortest wait."""
    counts = [requests_during_failure(Backoff(random=random.Random(seed).random)) for seed in range(SEEDS)]
    assert max(counts) < 20
    assert sum(counts) / SEEDS < 10
    assert requests_during_failure(Backoff(random=lambda: 0.0)) < 20


def test_a_server_that_keeps_asking_for_one_second_is_not_asked_each_second():
    """Waits double beside a Retry-After too: a server that is overloaded for long says 1 each time."""
    counts = [
        requests_during_failure(Backoff(random=random.Random(seed).random), retry_after_s=1.0)
        for seed in range(1_000)
    ]
    assert max(counts) < 20


def test_waits_double_up_to_the_cap():
    """The longest possible waits are 1, 2, 4, ... 60, 60 s."""
    backoff = Backoff(random=lambda: 1.0)
    assert [backoff.next_s() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_jitter_is_wide():
    """The agents of a large cluster spread over nine tenths of the wait, evenly."""
    waits = sorted(Backoff(random=random.Random(seed).random).next_s() for seed in range(1_000))
    assert waits[0] < 0.11
    assert waits[-1] > 0.99
    assert 0.5 < sum(waits) / len(waits) < 0.6


def test_a_success_starts_over():
    """After reset the first wait is short again."""
    backoff = Backoff(random=lambda: 1.0)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1


def test_own_base_and_cap():
    """Both ends of the doubling can be set."""
    backoff = Backoff(base_s=0.5, cap_s=3.0, random=lambda: 1.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1, 2, 3, 3]


@given(
    retry_after_s=st.floats(allow_nan=True, allow_infinity=True) | st.none(),
    seed=st.integers(),
    failures=st.integers(0, 20),
)
def test_retry_after_is_a_floor_up_to_five_minutes(retry_after_s, seed, failures):
    """A wait is never shorter than what was asked for, never more than a cap longer, and no number breaks it."""
    backoff = Backoff(random=random.Random(seed).random)
    for _ in range(failures):
        backoff.next_s()
    asked_s = retry_after_s if retry_after_s is not None and retry_after_s > 0 else 0.0
    floor_s = min(asked_s, MAX_RETRY_AFTER_S)
    assert floor_s < backoff.next_s(retry_after_s) <= floor_s + 60.0


def test_a_day_of_retry_after_is_cut():
    """An absurd Retry-After costs five minutes and the jitter."""
    assert MAX_RETRY_AFTER_S == 300
    assert Backoff(random=lambda: 0.0).next_s(86_400) < 301

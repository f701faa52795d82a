from __future__ import annotations

import random

import pytest

from .__main__ import FINDINGS
from .runner import TooSlowError, failure_of, run, smaller
from .target import Target
from .targets import TARGETS

SEED = 5
COUNT = 3_000
FOUND = sorted(path for path in FINDINGS.glob("*/*") if path.is_file())


@pytest.mark.any_kernel
@pytest.mark.parametrize("name", TARGETS)
def test_the_first_inputs_break_no_rule(name):
    """The same few thousand inputs at each run; ``make fuzz`` tries millions."""
    shard = run(name, SEED, 0, COUNT)
    assert not shard.failures, "\n".join(failure.text for failure in shard.failures.values())


@pytest.mark.any_kernel
@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}/{path.name}" for path in FOUND])
def test_what_was_found_once_is_not_found_again(path):
    """Each input that ever broke a rule is tried again."""
    TARGETS[path.parent.name].check(path.read_bytes())


def breaks_at(condition, kind=AssertionError):
    """Build a target whose rule is broken by some inputs."""

    def check(data):
        if condition(data):
            raise kind

    return Target("broken", lambda source: source.randbytes(200), check)


@pytest.mark.any_kernel
def test_an_input_is_a_function_of_seed_and_index():
    """What a run prints is enough to make the input again."""
    target, used = TARGETS["cgroup"], random.Random()
    inputs = [target.input(SEED, index, used) for index in range(50)]
    assert [target.input(SEED, index) for index in reversed(range(50))] == inputs[::-1]
    assert len(set(inputs)) > 40


@pytest.mark.any_kernel
def test_a_broken_rule_is_seen_and_its_input_made_small(monkeypatch):
    """Of 200 bytes, the one that matters is left."""
    target = breaks_at(lambda data: b"\x07" in data)
    monkeypatch.setitem(TARGETS, "broken", target)
    (failure,) = run("broken", SEED, 0, 100).failures.values()
    assert failure.data == target.input(SEED, failure.index)
    assert smaller(target, failure) == b"\x07"


@pytest.mark.any_kernel
@pytest.mark.parametrize("kind", [ValueError, MemoryError, RecursionError, TooSlowError, SystemExit])
def test_whatever_is_raised_is_a_finding(kind):
    """No error is anybody's way out."""
    assert failure_of(breaks_at(lambda _: True, kind), b"").kind.startswith(kind.__name__)


@pytest.mark.any_kernel
def test_an_input_that_takes_too_long_is_a_finding(monkeypatch):
    """A reader that loops is stopped and told."""

    def check(_data):
        while True:
            pass

    monkeypatch.setitem(TARGETS, "broken", Target("broken", lambda _: b"x", check))
    (failure,) = run("broken", SEED, 0, 1).failures.values()
    assert failure.kind.startswith("TooSlowError")

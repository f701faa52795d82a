"""However the API server fails, it gets fewer than 20 requests in any minute, and none of them was in vain."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import examples

from .streamed_api import CUT, REFUSED, Answer, bare, error_line, line, listed, minutes, refused
from .watch_scene import Scene, play

BOOKMARK = line("BOOKMARK", 11)
FAILURES = {
    "refused": REFUSED,
    "cut before anything": Answer([CUT]),
    "cut after an event": Answer([BOOKMARK, CUT]),
    "cut after 10 s": Answer([10.0, BOOKMARK, CUT]),
    "clean end at once": Answer(),
    "clean end after an event": Answer([line("ADDED", 11, bare("u1"))]),
    "clean end after 10 s": Answer([10.0, BOOKMARK]),
    "expired as an error": Answer([error_line(410)]),
    "expired after 10 s": Answer([10.0, BOOKMARK, error_line(410)]),
    "expired as a status": refused(410, reason="Expired"),
    "another error": Answer([error_line(500)]),
    "no token": refused(401, "Unauthorized", reason="Unauthorized"),
    "no right": refused(403, reason="Forbidden"),
    "not found": Answer([b"404 page not found\n"], 404),
    "overload": Answer([b"Too many requests, please try again later.\n"], 429, {"retry-after": "1"}),
    "overload without a word": Answer([], 429),
    "storage is initialising": refused(429, "storage is (re)initializing", retry_after="1"),
    "server error": Answer([b"oops"], 500),
    "bad gateway": Answer([b"<html>Bad gateway</html>"], 502),
    "future version": refused(504, reason="Timeout", cause="ResourceVersionTooLarge", retry_after="1"),
    "a redirect": Answer([], 302, {"location": "https://login.example/"}),
    "no JSON": Answer([b"Hello\n"]),
    "unknown type": Answer([b'{"type":"GREETING"}\n']),
    "a defect": ZeroDivisionError("a defect"),
    "an endless line": Answer([b"x" * (1 << 24), b"x"]),
}


def most_in_a_minute(scene: Scene) -> int:
    """The largest number of requests in any 60 s."""
    times = scene.times_s
    return max(bisect_left(times, start + 59.99) - index for index, start in enumerate(times))


def failing(answer, verbs):
    """A script in which the requests of these verbs fail, and the others are answered as they should be."""

    def script(request):
        if request.verb in verbs:
            return answer
        return listed(10) if request.verb == "list" else Answer(minutes(9, 10))

    return script


@pytest.mark.parametrize("verbs", [("list", "watch"), ("watch",), ("list",)], ids=" ".join)
@pytest.mark.parametrize("name", FAILURES)
def test_fewer_than_20_requests_a_minute(name, verbs):
    """Of whatever kind the failure is and however the jitter falls: fewer than 10, since a 401 costs two each."""
    for seed in (None, 1, 2):
        scene = play(failing(FAILURES[name], verbs), for_s=600, seed=seed)
        assert most_in_a_minute(scene) < 10
        assert len(scene.asked) > 3


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_for_a_while_is_well_afterwards(name):
    """Ten minutes of any failure leave a directory that is right two minutes later, without a restart."""

    def script(request):
        if 30.0 < request.at_s - 1000.0 < 630.0:
            return FAILURES[name]
        if request.verb == "list":
            return listed(10, bare("u1")) if request.at_s < 1030.0 else listed(90, bare("u2"))
        return (
            Answer([29.9, CUT])
            if request.at_s < 1030.0
            else Answer([line("ADDED", 99, bare("u3")), *minutes(9, 99)])
        )

    scene = play(script, for_s=780, seed=1)
    assert "u3" in scene.uids
    assert scene.watcher.current_for_s() is not None


@examples(40)
@given(st.integers(0, 2**32))
def test_any_mixture_of_failures_is_within_the_bound(seed):
    """Also when each request fails in another way, or not at all."""
    dice = random.Random(seed)
    answers = [*FAILURES.values(), listed(10), listed(5, bare("u1")), Answer([30.0, BOOKMARK])]
    scene = play(lambda _: dice.choice(answers), for_s=900, seed=seed)
    assert most_in_a_minute(scene) < 10


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_is_counted(name):
    """No failure goes uncounted: every request but the first list, or a clean end after some time, is an error."""
    scene = play(failing(FAILURES[name], ("watch",)), for_s=300, seed=1)
    errors = sum(scene.counted.values())
    assert errors >= (0 if name == "clean end after 10 s" else scene.watcher.requests["watch"] - 1)
    assert scene.watcher.requests["list"] + scene.watcher.requests["watch"] == len(scene.asked)

from __future__ import annotations

import asyncio
import logging

import pytest

from oomtracer.kube.records import PIECE_BYTES
from oomtracer.kube.watch_times import WatchTimes

from .streamed_api import (
    CUT,
    REFUSED,
    Answer,
    bare,
    error_line,
    line,
    listed,
    minutes,
    refused,
)
from .watch_scene import in_turn, play

FOREVER = Answer([1e9])


def test_a_list_and_then_a_watch_from_its_version():
    """One list from the cache, one watch with bookmarks and a bounded time, both of this node alone."""
    scene = play(in_turn(listed(230, bare("u1"), bare("u2")), Answer(minutes(9, 231))), for_s=200, seed=1)
    first, second = (request.query for request in scene.api.requests)
    assert first == {"fieldSelector": "spec.nodeName=node-a", "resourceVersion": "0"}
    seconds = int(second["timeoutSeconds"])
    assert 300 <= seconds <= 600
    assert second == {
        "fieldSelector": "spec.nodeName=node-a",
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "230",
        "timeoutSeconds": str(seconds),
    }
    assert scene.uids == {"u1", "u2"}
    assert scene.directory.is_synced
    assert scene.watcher.requests == {"list": 1, "watch": 1}


def test_watches_do_not_all_end_at_once():
    """The time asked for differs from agent to agent."""
    seconds = {
        play(in_turn(listed(1), FOREVER), for_s=1, seed=seed).api.requests[1].query["timeoutSeconds"]
        for seed in range(9)
    }
    assert len(seconds) > 5


def test_a_roll_out_does_not_list_all_at_once():
    """The first list of an agent comes somewhere within the start jitter, and only the first."""
    starts = [
        play(in_turn(listed(1), FOREVER), for_s=11, seed=seed, start_jitter_s=10.0).times_s[0]
        for seed in range(9)
    ]
    assert all(0.0 <= start <= 10.0 for start in starts)
    assert max(starts) - min(starts) > 5.0


def test_events_change_the_directory():
    """ADDED, MODIFIED and DELETED do what they say, wherever the stream is cut into chunks."""
    events = b"".join(
        (
            line("ADDED", 11, bare("u2")),
            line("MODIFIED", 12, bare("u1", phase="Failed")),
            line("DELETED", 13, bare("u2")),
            line("ADDED", 14, bare("u3")),
        )
    )
    chunks = [events[start : start + 50] for start in range(0, len(events), 50)]
    scene = play(in_turn(listed(10, bare("u1")), Answer([*chunks, 1e9])), for_s=5)
    assert scene.uids == {"u1", "u3"}
    assert scene.directory.is_gone("u2")
    assert scene.directory.pod("u1").phase == "Failed"
    assert scene.watcher.events == 4


def test_after_a_clean_end_the_watch_goes_on_at_once_from_the_last_version():
    """A watch that reached its time is resumed from the latest event or bookmark, without a pause or a list."""
    first = Answer([20.0, line("ADDED", 15, bare("u1")), 20.0])
    second = Answer([50.0, line("BOOKMARK", 99), 1.0])
    scene = play(in_turn(listed(10), first, second, Answer(minutes(9, 99))), for_s=95)
    assert scene.asked == [("list", "0"), ("watch", "10"), ("watch", "15"), ("watch", "99")]
    assert scene.times_s == pytest.approx([0.0, 0.0, 40.0, 91.0], abs=0.1)
    assert scene.counted == {}


def test_a_stream_that_ends_at_once_backs_off():
    """A clean end right after the beginning is no reason to hurry, with an event or without."""
    for steps in ([], [line("BOOKMARK", 10)], [line("ADDED", 11, bare("u1"))]):
        scene = play(in_turn(listed(10), Answer(steps)), for_s=60, seed=3)
        assert 3 < len(scene.asked) < 12
        assert scene.asked.count(("list", "0")) == 1
        assert scene.counted == {"ended_early": len(scene.asked) - 1}


@pytest.mark.parametrize("expired", [Answer([error_line(410)]), refused(410, "too old", reason="Expired")])
def test_a_version_that_is_too_old_means_a_new_list(expired):
    """410 as an ERROR in a 200 or as a status: list again, at least as new as what was seen."""
    scene = play(
        in_turn(listed(10, bare("u1")), expired, listed(500, bare("u2")), Answer(minutes(9, 500))),
        for_s=100,
        seed=1,
    )
    assert scene.asked == [("list", "0"), ("watch", "10"), ("list", "10"), ("watch", "500")]
    assert scene.uids == {"u2"}
    assert scene.directory.is_gone("u1")
    assert scene.times_s[2] < 1.1
    assert scene.counted == {"expired": 1}
    assert scene.watcher.missed == 0


def test_a_list_that_is_too_old_starts_anew():
    """410 of a list: what was seen is no measure any more."""
    answers = (listed(10), Answer([error_line(410)]), refused(410, reason="Expired"), listed(12), FOREVER)
    scene = play(in_turn(*answers), for_s=10, seed=1)
    assert scene.asked == [("list", "0"), ("watch", "10"), ("list", "10"), ("list", "0"), ("watch", "12")]


def test_a_cut_stream_is_resumed_after_a_pause():
    """Half an answer loses nothing: the watch goes on from the last version seen."""
    cut = Answer([30.0, line("ADDED", 15, bare("u1")), CUT])
    scene = play(in_turn(listed(10), cut, Answer(minutes(9, 15))), for_s=60, seed=1)
    assert scene.asked == [("list", "0"), ("watch", "10"), ("watch", "15")]
    assert 30.0 < scene.times_s[2] <= 31.1
    assert scene.counted == {"unreachable": 1}


def test_a_watch_that_lasted_makes_up_for_failures():
    """After ten minutes of failures, a watch that worked for a while is followed by a short pause again."""
    for steps in ([30.0, line("BOOKMARK", 10), CUT], [30.0, line("BOOKMARK", 10)]):
        answers = [listed(10), *[REFUSED] * 12, Answer(steps), REFUSED, Answer(minutes(9, 10))]
        scene = play(in_turn(*answers), for_s=1500, seed=4)
        ended_s = scene.times_s[13] + 30.0
        assert ended_s > 150.0
        assert scene.times_s[15] - ended_s < 4.0


def test_a_deleted_pod_leaves_its_last_containers_behind():
    """The last state that the event of a deletion shows is known afterwards."""
    ended = {"terminated": {"containerID": f"containerd://{'ab' * 32}"}}
    last = bare("u1", containerStatuses=[{"name": "app", "state": ended}])
    scene = play(in_turn(listed(10, bare("u1")), Answer([line("DELETED", 11, last), 1e9])), for_s=5)
    identity = scene.directory.find("u1", "ab" * 32)
    assert identity is not None
    assert identity.container == "app"


def test_a_last_line_without_its_newline_is_an_event():
    """A clean end ends a line too; if that is half an event, it is garbage."""
    last = Answer([20.0, line("ADDED", 11, bare("u1")).rstrip()])
    half = Answer([20.0, line("ADDED", 11, bare("u1"))[:50]])
    assert play(in_turn(listed(10), last, FOREVER), for_s=30).asked[-1] == ("watch", "11")
    assert play(in_turn(listed(10), half, listed(10), FOREVER), for_s=30).counted == {"malformed": 1}


def test_half_a_line_is_not_an_event():
    """A stream that breaks within a line has told nothing by it."""
    half = line("ADDED", 15, bare("u1"))[:40]
    scene = play(in_turn(listed(10), Answer([15.0, half, CUT]), Answer(minutes(9, 10))), for_s=60, seed=1)
    assert scene.asked == [("list", "0"), ("watch", "10"), ("watch", "10")]


def test_a_silent_watch_is_asked_for_anew(caplog):
    """Without a byte for 100 s the connection may be dead, or the cluster asleep: that is no error."""
    scene = play(
        in_turn(listed(10), FOREVER, Answer([99.0, line("BOOKMARK", 11), 1e9]), FOREVER), for_s=350, seed=1
    )
    assert scene.asked == [("list", "0"), ("watch", "10"), ("watch", "10"), ("watch", "11")]
    assert scene.times_s[2:] == pytest.approx([100.0, 299.0], abs=0.1)
    assert (scene.watcher.silences, scene.counted) == (2, {})
    assert "WARNING" not in caplog.text


def test_a_watch_without_an_end_is_left():
    """A server that forgets the time asked for does not keep us from looking around."""
    scene = play(in_turn(listed(10), Answer(minutes(99, 11))), for_s=420)
    assert scene.asked == [("list", "0"), ("watch", "10"), ("watch", "11")]
    assert scene.times_s[2] == pytest.approx(360.0, abs=1)
    assert scene.counted == {}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"no JSON\n", "malformed"),
        (b"<html>Bad gateway</html>\n", "malformed"),
        (b'{"type":"GREETING","object":{}}\n', "malformed"),
        (b'{"type":"ADDED","object":{}}\n', "malformed"),
        (error_line(500, "etcd event received with PrevKv=nil"), "watch_error"),
        (b"x" * (16 * 1024 * 1024 + 1), "line_too_long"),
    ],
)
def test_what_cannot_be_followed_means_a_new_list(bad, kind):
    """Garbage in a watch is counted, and the truth fetched anew."""
    scene = play(
        in_turn(listed(10), Answer([bad, 1e9]), listed(20, bare("u1")), Answer(minutes(9, 20))),
        for_s=10,
        seed=1,
    )
    assert scene.asked == [("list", "0"), ("watch", "10"), ("list", "10"), ("watch", "20")]
    assert scene.counted == {kind: 1}
    assert scene.uids == {"u1"}


def test_a_long_line_is_read():
    """A pod of several megabytes is an event like any other."""
    pod = bare("u1")
    pod["metadata"]["managedFields"] = ["x" * 1_000_000] * 5
    whole = line("ADDED", 11, pod)
    chunks = [whole[start : start + 65_536] for start in range(0, len(whole), 65_536)]
    scene = play(in_turn(listed(10), Answer([*chunks, 1e9])), for_s=10)
    assert scene.uids == {"u1"}


@pytest.mark.parametrize("body", [b"", b"Not yet", b"[]", b'{"kind":"Status"}', b'{"items":[{"metadata"'])
def test_a_list_that_is_none_is_asked_for_again(body):
    """A 200 that holds no list changes nothing."""
    scene = play(in_turn(Answer([body]), listed(20, bare("u1")), FOREVER), for_s=10, seed=1)
    assert scene.asked == [("list", "0"), ("list", "0"), ("watch", "20")]
    assert scene.counted == {"malformed": 1}
    assert scene.uids == {"u1"}


def test_a_list_that_does_not_end_is_left():
    """A list that drips longer than a minute is given up."""
    drip = Answer([b'{"items":['] + [step for _ in range(30) for step in (10.0, b" ")])
    scene = play(in_turn(drip, listed(20), FOREVER), for_s=70, seed=1)
    assert scene.asked == [("list", "0"), ("list", "0"), ("watch", "20")]
    assert 60.0 < scene.times_s[1] < 61.2
    assert scene.counted == {"unreachable": 1}


def test_a_large_list_lets_others_work():
    """A list that comes in one piece, as from a decompressor, is parsed in many."""
    pods = [bare(f"u{number}") for number in range(10_000)]
    (body,) = listed(20, *pods).steps
    turns: list[float] = []
    is_read: list[int] = []

    def steps():
        asyncio.get_running_loop().call_soon(count)
        yield body
        is_read.append(len(turns))

    def count() -> None:
        turns.append(0.0)
        if not is_read:
            asyncio.get_running_loop().call_soon(count)

    assert len(play(in_turn(Answer(steps()), FOREVER), for_s=1).uids) == 10_000
    assert is_read[0] >= len(body) // PIECE_BYTES


def test_a_server_that_is_not_there_is_waited_for():
    """An agent that starts before its API server works as soon as that is there."""
    answers = [REFUSED] * 9 + [listed(20, bare("u1")), Answer(minutes(9, 20))]
    scene = play(in_turn(*answers), for_s=600, seed=1)
    assert scene.uids == {"u1"}
    assert scene.counted["unreachable"] == 9


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "throttled"), (503, "server_error"), (500, "server_error")]
)
def test_retry_after_is_respected(status, kind):
    """A server that asks for patience is not asked before."""
    text = Answer([b"Too many requests, please try again later.\n"], status, {"retry-after": "7"})
    scene = play(
        in_turn(text, listed(20), Answer([b"later"], status, {"retry-after": "9"}), FOREVER), for_s=30, seed=1
    )
    assert scene.asked == [("list", "0"), ("list", "0"), ("watch", "20"), ("watch", "20")]
    assert 7.0 <= scene.times_s[1] <= 8.1
    assert scene.times_s[3] - scene.times_s[2] >= 9.0
    assert scene.counted == {kind: 2}


def test_a_missing_right_is_said_once_with_the_rule_to_add(caplog):
    """403 is for people: told once with the exact rule, asked again slowly, and over when the rule is there."""
    forbidden = refused(
        403, 'pods is forbidden: User "agent" cannot list resource "pods"', reason="Forbidden"
    )
    with caplog.at_level(logging.INFO):
        scene = play(in_turn(*[forbidden] * 5, listed(20), Answer(minutes(9, 20))), for_s=400, seed=1)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 'apiGroups: [""], resources: [pods], verbs: [list, watch]' in told
    assert "cannot list" in told
    pauses = [later - sooner for sooner, later in zip(scene.times_s[:5], scene.times_s[1:6], strict=True)]
    assert min(pauses) >= 10.0
    assert scene.counted == {"forbidden": 5}
    assert "again, after" in caplog.records[-1].getMessage()


def test_an_outage_is_said_once_and_its_end_too(caplog):
    """However often it is tried: one line when the server is lost, one when it is back, with the time between."""
    answers = (
        [listed(10), Answer([30.0, line("BOOKMARK", 10), CUT])] + [REFUSED] * 8 + [Answer(minutes(9, 10))]
    )
    with caplog.at_level(logging.INFO):
        scene = play(in_turn(*answers), for_s=400, seed=1)
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    first, lost, back = levels
    assert first == ("INFO", "following the pods of this node, now 0")
    assert (lost[0], "connection refused" in lost[1]) == ("WARNING", True)
    seconds = round(scene.times_s[-1] - 30.0)
    assert back == ("INFO", f"following the pods of this node again, after {seconds} s")


def test_a_cut_that_is_mended_at_once_is_not_worth_a_line(caplog):
    """A load balancer that ends connections now and then fills no log."""
    cut = Answer([60.0, line("BOOKMARK", 10), CUT])
    with caplog.at_level(logging.INFO):
        play(in_turn(listed(10), cut), for_s=600, seed=1)
    assert [record.getMessage() for record in caplog.records] == ["following the pods of this node, now 0"]


@pytest.mark.parametrize(
    "answer",
    [
        REFUSED,
        Answer([line("BOOKMARK", 10)]),
        Answer([CUT]),
        Answer([b"garbage\n"]),
        Answer([error_line(410)]),
    ],
)
def test_a_trouble_that_lasts_is_said_once(answer, caplog):
    """Also a server whose answers begin well says its trouble once, not once per try."""

    def script(request):
        return listed(10) if request.verb == "list" else answer

    with caplog.at_level(logging.INFO):
        scene = play(script, for_s=1000, seed=1)
    assert len(scene.asked) > 20
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "again, after" not in caplog.text


def test_followers_hear_of_regained_contact():
    """How long the pods have been current is news, though no pod has changed: once for each time it begins."""
    heard: list[float | None] = []
    cut = Answer([30.0, line("BOOKMARK", 10), CUT])

    def follow(scene):
        scene.directory.on_change.append(lambda: heard.append(scene.watcher.current_for_s()))

    scene = play(in_turn(listed(10), cut, REFUSED, Answer(minutes(9, 10))), for_s=200, seed=1, first=follow)
    assert heard == [None, 0.0, 0.0]
    assert scene.watcher.requests == {"list": 1, "watch": 3}


@pytest.mark.parametrize(
    ("own_pod", "is_warned"), [(("shop", "u1"), False), (("other", "u1"), True), (None, False)]
)
def test_a_node_that_lacks_the_agents_own_pod_is_said_once(own_pod, is_warned, caplog):
    """A wrong --node-name would go unnoticed otherwise: the list is fine, and no kill finds its pod."""
    answers = [listed(10, bare("u1")), Answer([error_line(410)]), listed(20), Answer(minutes(9, 20))]
    play(in_turn(*answers), for_s=60, seed=1, own_pod=own_pod)
    told = [record.getMessage() for record in caplog.records if "own pod" in record.getMessage()]
    assert (
        told
        == ["the agent's own pod other/u1 is not among the pods of node node-a: is --node-name right?"]
        * is_warned
    )


def test_a_defect_ends_no_watch(caplog):
    """What nobody thought of is told with its traceback once, and the pods are listed again."""
    left = [ZeroDivisionError("a defect"), KeyError("another")]

    def script(request):
        if request.verb == "watch" and left:
            return left.pop(0)
        return listed(10, bare("u1")) if request.verb == "list" else Answer(minutes(9, 10))

    scene = play(script, for_s=100, seed=1)
    assert scene.uids == {"u1"}
    assert scene.counted == {"internal": 2}
    assert caplog.text.count("Traceback") == 1


def test_how_long_the_directory_is_current():
    """Current since a watch was answered, through clean ends, and not at all in an outage."""
    ages: list[float | None] = []
    note = lambda scene: ages.append(scene.watcher.current_for_s())  # noqa: E731
    clean = Answer([40.0, line("BOOKMARK", 10)])
    play(in_turn(REFUSED), for_s=30, then=note)
    play(in_turn(listed(10), clean), for_s=100, then=note)
    play(in_turn(listed(10), Answer([20.0, line("BOOKMARK", 10), CUT]), REFUSED), for_s=100, then=note)
    assert ages == [None, pytest.approx(100.0, abs=1), None]


def test_times_can_be_set():
    """A test, or a strange network, may be more or less patient."""
    times = WatchTimes(silence_s=5.0, steady_s=1.0, watch_s=(50.0, 50.0))
    scene = play(in_turn(listed(10), FOREVER), for_s=18, times=times)
    assert scene.asked[1:] == [("watch", "10")] * 4
    assert scene.api.requests[1].query["timeoutSeconds"] == "50"

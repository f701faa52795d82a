"""A list now and then tells whether the watch has told everything, and only then counts what it has not."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import examples

from .streamed_api import CUT, Answer, Step, bare, error_line, line, listed, minutes, refused
from .watch_scene import Scene, in_turn, play

AHEAD = refused(
    504,
    "Timeout: Too large resource version: 249, current: 230",
    reason="Timeout",
    cause="ResourceVersionTooLarge",
    retry_after="1",
)


class Server:
    """A server whose pods change at set times, and whose watch may leave things out.

    ``changes``: second, version and the pods from then on. ``hidden``: versions that the watch does not tell.
    """

    def __init__(self, changes, hidden=(), *, lag_s: float = 0.0) -> None:
        self.changes = sorted(changes, key=lambda change: change[0])
        self.hidden = set(hidden)
        self.lag_s = lag_s

    def __call__(self, request):
        """Answer as a script does."""
        at_s = request.at_s - 1000.0
        if request.verb == "list":
            _, version, pods = [change for change in self.changes if change[0] <= at_s][-1]
            return listed(version, *pods.values())
        return Answer(self.steps(at_s, int(request.version), float(request.query["timeoutSeconds"])))

    def steps(self, at_s: float, since: int, for_s: float) -> list[Step]:
        """A watch from this time and version: events as they happen, a bookmark each minute."""
        told: list[tuple[float, bytes]] = []
        for (_, _, before), (when_s, version, after) in pairwise(self.changes):
            if version > since and version not in self.hidden:
                told += [(max(when_s + self.lag_s, at_s), event) for event in events(version, before, after)]
        for minute in range(1, int(for_s // 60) + 1):
            when_s = at_s + 60.0 * minute
            known = [version for change_s, version, _ in self.changes if change_s + self.lag_s <= when_s]
            told.append((when_s, line("BOOKMARK", max(known[-1], since))))
        steps: list[Step] = []
        last_s = at_s
        for when_s, event in sorted(told, key=lambda each: each[0]):
            if when_s <= at_s + for_s:
                steps += [when_s - last_s, event]
                last_s = when_s
        return [*steps, at_s + for_s - last_s]


def events(version, before, after) -> list[bytes]:
    """What a watch tells of one change."""
    gone = [line("DELETED", version, pod) for uid, pod in before.items() if uid not in after]
    kinds = {
        uid: "MODIFIED" if uid in before else "ADDED" for uid, pod in after.items() if before.get(uid) != pod
    }
    return gone + [line(kind, version, after[uid]) for uid, kind in kinds.items()]


def world(*uids: str, version: int = 1, **status):
    """Pods by uid."""
    return {uid: bare(uid, version, **status) for uid in uids}


def lists(scene: Scene) -> list[float]:
    """When lists were asked for."""
    return [at_s for at_s, (verb, _) in zip(scene.times_s, scene.asked, strict=True) if verb == "list"]


def test_a_list_comes_every_half_hour_or_so():
    """Every 24 to 36 minutes, at other times in each agent, and asks for nothing older than what was seen."""
    pauses: list[float] = []
    for seed in range(3):
        scene = play(Server([(0.0, 10, world("u1"))]), for_s=4 * 3600, seed=seed)
        times = lists(scene)
        pauses += [later - sooner for sooner, later in pairwise(times)]
        assert {version for verb, version in scene.asked[1:] if verb == "list"} == {"10"}
        assert (scene.watcher.missed, scene.counted, scene.uids) == (0, {}, {"u1"})
    assert 1440.0 <= min(pauses) < 1600.0
    assert 2000.0 < max(pauses) <= 2195.0


@pytest.mark.parametrize("lag_s", [0.0, 45.0])
def test_a_watch_that_tells_everything_misses_nothing(lag_s):
    """Pods that come, change and go around the time of the list are no differences, even if they are told late."""
    changes, pods = [(0.0, 10, world("u1", "u2"))], world("u1", "u2")
    for version in range(11, 811):
        uid = ("u1", f"p{version - 1}", f"p{version}")[version % 3]  # changes, goes, comes
        pods = {each: pod for each, pod in pods.items() if each != uid}
        pods |= {uid: bare(uid, version)} if version % 3 != 1 else {}
        changes.append((1300.0 + 1.5 * version, version, pods))
    scene = play(Server(changes, lag_s=lag_s), for_s=3600, seed=1)
    assert len(lists(scene)) > 2
    assert scene.watcher.missed == 0
    assert scene.uids == set(pods)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (world("u1"), {**world("u1"), **world("u2", version=20)}),
        (world("u1"), world("u1", version=20, phase="Failed")),
        (world("u1", "u2"), world("u1")),
    ],
    ids=["added", "changed", "deleted"],
)
def test_what_a_watch_hides_is_found_and_counted(before, after, caplog):
    """A change that the watch does not tell is made up for by the list, once."""
    server = Server([(0.0, 10, before), (50.0, 20, after), (60.0, 21, after)], hidden={20})
    scene = play(server, for_s=6000, seed=1)
    assert scene.watcher.missed == 1
    assert scene.uids == set(after)
    assert scene.directory.pod("u1").phase == after["u1"]["status"].get("phase", "Unknown")
    assert caplog.text.count("the watch of the pods is not complete: 1 changes") == 1


@examples(40)
@given(
    st.lists(
        st.tuples(
            st.floats(1.0, 2400.0),
            st.dictionaries(st.sampled_from(["u1", "u2", "u3", "u4"]), st.integers(0, 3), max_size=4),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(0, 99),
)
def test_whatever_is_hidden_the_directory_is_right_after_a_list(changes, seed):
    """After an hour every pod is as it is, and misses are counted only where something was hidden."""
    history, version, pods, hidden = [(0.0, 10, {})], 10, {}, set()
    for when_s, wanted, is_hidden in sorted(changes, key=lambda change: change[0]):
        version += 1
        pods = {
            uid: pods[uid]
            if uid in pods and pods[uid]["status"]["phase"] == f"{phase}"
            else bare(uid, version, phase=f"{phase}")
            for uid, phase in wanted.items()
        }
        history.append((when_s, version, pods))
        hidden |= {version} if is_hidden else set()
    scene = play(Server(history, hidden), for_s=2 * 2160 + 700, seed=seed)
    known = {pod.uid: (pod.phase, pod.resource_version) for pod in scene.directory.pods()}
    assert known == {
        uid: (pod["status"]["phase"], int(pod["metadata"]["resourceVersion"])) for uid, pod in pods.items()
    }
    assert hidden or not scene.watcher.missed


def audited(*events: bytes) -> Scene:
    """A watch that has told nothing comes up to a list of version 20 by these events."""

    def script(request):
        if request.verb == "list":
            return (
                listed(10, bare("u1", 5))
                if request.at_s < 1100.0
                else listed(20, bare("u1", 15), bare("u2", 16))
            )
        return Answer([*events, *minutes(5, 30)] if request.at_s > 2430.0 else minutes(9, 10))

    scene = play(script, for_s=1700, seed=None)
    assert scene.watcher.requests["list"] == 2
    return scene


def test_a_list_with_strange_items_deletes_nothing():
    """Any item that is no pod may be the one that is missing; what the others say is believed."""

    def script(request):
        if request.verb == "watch":
            return Answer(minutes(9, 20))
        strange = {"metadata": {"uid": "u1"}}
        return listed(10, bare("u1", 5)) if request.at_s < 1100.0 else listed(20, strange, bare("u2", 16))

    scene = play(script, for_s=2600, seed=None)
    assert scene.watcher.requests["list"] == 2
    assert (scene.uids, scene.watcher.missed) == ({"u1", "u2"}, 1)


def test_what_happened_after_the_list_is_no_miss():
    """A list is compared when the watch has passed it: what the watch told since is right, and the list is old."""
    told = [line("MODIFIED", 15, bare("u1", phase="Running")), line("ADDED", 16, bare("u2"))]
    since = [line("MODIFIED", 25, bare("u1", phase="Failed")), line("DELETED", 26, bare("u2"))]
    scene = audited(*told, *since)
    assert scene.watcher.missed == 0
    assert scene.uids == {"u1"}
    assert scene.directory.pod("u1").phase == "Failed"
    assert audited(*since).watcher.missed == 1  # u2 was added; u1 is as new as can be
    assert audited(since[1]).watcher.missed == 1  # u1 was modified


def test_a_comparison_that_is_overtaken_by_a_list_is_dropped():
    """If the watch expires before it comes to the list, the next list is the truth and the old one nothing."""

    def script(request):
        if request.verb == "list":
            pods = {1: [bare("u1", 5)], 2: [bare("u1", 5), bare("u9", 40)], 3: [bare("u1", 5)]}
            lists.append(request)
            return listed((10, 50, 60)[len(lists) - 1], *pods[len(lists)])
        if len(lists) == 2:
            return Answer([30.0, error_line(410)])
        return Answer(minutes(9, 60 if len(lists) == 3 else 10))

    lists: list[object] = []
    scene = play(script, for_s=2400, seed=None)
    assert len(lists) == 3
    assert (scene.uids, scene.watcher.missed) == ({"u1"}, 0)


def test_a_server_restored_from_a_backup_is_noticed_within_minutes(caplog):
    """A watch from a version that is yet to come is silent: a list finds out, and the watch starts from there."""

    def script(request):
        if request.at_s < 1120.0:
            return (
                listed(249, bare("u1", 240))
                if request.verb == "list"
                else Answer([60.0, line("BOOKMARK", 249), 30.0, CUT])
            )
        if request.verb == "list":
            return AHEAD if int(request.version) > 230 else listed(230, bare("u2", 220))
        return Answer([1e9]) if int(request.version) > 230 else Answer(minutes(9, 230))

    with caplog.at_level(logging.WARNING):
        scene = play(script, for_s=700, seed=1)
    assert scene.uids == {"u2"}
    assert scene.directory.is_gone("u1")
    assert (scene.watcher.restores, scene.watcher.missed) == (1, 2)
    assert scene.counted["version_ahead"] >= 3
    assert "an older version" in caplog.text


def test_a_restored_server_that_has_come_up_again_hides_nothing_for_long():
    """Where the versions have passed ours again, other states under lower versions are found by the next list."""

    def script(request):
        if request.verb == "list" and request.at_s < 1100.0:
            return listed(249, bare("u1", 240, phase="Running"), bare("u2", 230), bare("u3", 100))
        if request.verb == "list":
            return listed(300, bare("u1", 235, phase="Failed"), bare("u3", 100), bare("u4", 233))
        gone = line("DELETED", 250, bare("u4", 210)) if request.version == "249" else b""
        return Answer([gone, *minutes(9, 300)])

    scene = play(script, for_s=3000, seed=1)
    assert scene.uids == {"u1", "u3", "u4"}
    assert scene.directory.pod("u1").phase == "Failed"
    assert scene.watcher.missed == 3


def test_a_server_that_only_lags_is_not_a_restored_one():
    """One of several API servers that is some seconds behind does not take us back in time."""
    answers = [listed(249, bare("u1")), refused(410, reason="Expired"), AHEAD, AHEAD, listed(250, bare("u1"))]
    scene = play(in_turn(*answers, Answer(minutes(9, 250))), for_s=60, seed=1)
    assert [version for verb, version in scene.asked if verb == "list"] == ["0", "249", "249", "249"]
    assert (scene.watcher.restores, scene.watcher.missed) == (0, 0)


def test_a_list_that_fails_does_not_stop_the_watch():
    """Where only lists fail, the watch goes on, and the list is tried again later."""
    server = Server([(0.0, 10, world("u1")), (3000.0, 11, world("u1", "u2", version=11))])

    def script(request):
        fails = request.verb == "list" and request.at_s > 1100.0
        return refused(403, "no more lists", reason="Forbidden") if fails else server(request)

    scene = play(script, for_s=3600, seed=1)
    assert scene.uids == {"u1", "u2"}
    assert scene.counted["forbidden"] > 2
    assert scene.watcher.current_for_s() is not None


def test_a_watch_that_stays_behind_a_list_is_given_up():
    """Where the watch never comes to the version of a list, the list is taken for the truth."""

    def script(request):
        if request.verb == "list":
            return listed(10, bare("u1")) if request.at_s < 1100.0 else listed(99, bare("u2", 50))
        return Answer(minutes(5, 10 if request.version == "10" else 99))

    scene = play(script, for_s=4000, seed=1)
    assert scene.uids == {"u2"}
    assert scene.counted == {"behind": 1}

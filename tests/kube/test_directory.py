from __future__ import annotations

from dataclasses import replace

import pytest

from oomtracer.kube.directory import MAX_GONE, PodDirectory
from oomtracer.kube.entries import MAX_PAST_IDS

from .slim_pods import slim_pod

A, B, C = "a1" * 32, "b2" * 32, "c3" * 32
HASH = "0123456789abcdef0123456789abcdef"
LIKE_A_UID = "ca70517f-bacb-4793-9052-117fcef9238b"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock at 50 s."""
    return Clock()


@pytest.fixture
def directory(clock: Clock) -> PodDirectory:
    """A directory that knows nothing yet."""
    return PodDirectory(clock=clock)


def found(directory: PodDirectory, pod_uid: str | None, container_id: str | None):
    """What is found, as uid and container."""
    identity = directory.find(pod_uid, container_id)
    return identity and (identity.pod.uid, identity.container)


def test_a_pod_is_found_by_its_uid(directory):
    """The uid of the cgroup is enough for the pod; the id adds the container."""
    directory.put(slim_pod("u1", ids={A: "app", B: "proxy"}))
    assert found(directory, "u1", B) == ("u1", "proxy")
    assert found(directory, "u1", None) == ("u1", None)
    assert found(directory, "u2", A) is None


def test_a_container_not_heard_of_yet_has_no_name(directory):
    """An id that the status does not tell yet leaves the container open; nothing is inferred here."""
    directory.put(slim_pod("u1", ids={A: "app"}))
    assert found(directory, "u1", B) == ("u1", None)


@pytest.mark.parametrize("config_hash", [HASH, LIKE_A_UID])
def test_a_static_pod_is_found_by_its_hash(directory, config_hash):
    """The cgroup's uid may be a config hash, also one that a manifest made look like a uid."""
    directory.put(slim_pod("mirror", config_hash=config_hash, ids={A: "etcd"}))
    assert found(directory, config_hash, A) == ("mirror", "etcd")
    assert found(directory, "mirror", A) == ("mirror", "etcd")


def test_a_uid_beats_a_hash(directory):
    """Where one pod's uid is another's hash, the uid counts."""
    directory.put(slim_pod("mirror", config_hash="u1"))
    directory.put(slim_pod("u1"))
    assert found(directory, "u1", None) == ("u1", None)


def test_the_oldest_mirror_of_a_static_pod_is_the_one(directory, clock):
    """Whoever pretends to be a static pod's object comes after it, and gets none of its kills while it lives."""
    directory.put(slim_pod("thief", name="p2", config_hash=HASH, created_s=2000.0))
    directory.put(slim_pod("mirror", name="p1", config_hash=HASH, created_s=1000.0, ids={A: "etcd"}))
    directory.put(slim_pod("second", name="p3", config_hash=HASH, created_s=1000.0))
    assert found(directory, HASH, A) == ("mirror", "etcd")
    for uid in ("second", "thief", "mirror"):
        clock.now_s += 1.0
        directory.remove(uid)
        assert found(directory, HASH, None) == ("mirror", None)


def test_a_mirror_made_anew_is_the_one(directory):
    """It has its predecessor's name, and the containers that went on."""
    directory.put(slim_pod("old", name="etcd", config_hash=HASH, created_s=1000.0, ids={A: "etcd"}))
    directory.put(slim_pod("new", name="etcd", config_hash=HASH, created_s=2000.0))
    assert found(directory, HASH, A) == ("new", "etcd")


def test_of_gone_mirrors_the_latest_gone_is_the_one(directory, clock):
    """A kill that is told late is of the one that was there last."""
    for name, created_s in (("p1", 1000.0), ("p2", 2000.0), ("p3", 3000.0)):
        directory.put(slim_pod(name, config_hash=HASH, created_s=created_s))
    for name in ("p1", "p3", "p2"):
        directory.remove(name)
        clock.now_s += 1.0
    assert found(directory, HASH, None) == ("p2", None)


def test_a_mirror_whose_hash_changes_leaves_the_old_one(directory):
    """A changed manifest is a new hash; the old one finds nobody."""
    directory.put(slim_pod("mirror", config_hash=HASH))
    directory.put(slim_pod("mirror", config_hash="f" * 32))
    assert found(directory, HASH, None) is None
    assert found(directory, "f" * 32, None) == ("mirror", None)


def test_a_cut_name_is_found_by_the_container_alone(directory):
    """Without a uid the container's id finds the pod, and the front of the id does."""
    directory.put(slim_pod("u1", ids={A: "app"}))
    directory.put(slim_pod("u2", ids={B: "app"}))
    assert found(directory, None, A) == ("u1", "app")
    assert found(directory, None, B[:46]) == ("u2", "app")
    assert found(directory, None, C[:46]) is None
    assert found(directory, None, None) is None


def test_the_front_of_an_id_is_enough_below_a_uid(directory):
    """A cut id is completed among the containers of its pod."""
    directory.put(slim_pod("u1", ids={A: "app", B: "proxy"}))
    assert found(directory, "u1", A[:46]) == ("u1", "app")


def test_an_ambiguous_front_finds_nobody(directory):
    """Two containers that start alike are no match, within a pod and across pods."""
    directory.put(slim_pod("u1", ids={A: "app", A[:46] + B[46:]: "proxy"}))
    assert found(directory, "u1", A[:46]) == ("u1", None)
    assert found(directory, None, A[:46]) is None
    directory.put(slim_pod("u2", ids={C: "app"}))
    directory.put(slim_pod("u3", ids={C[:46] + B[46:]: "app"}))
    assert found(directory, None, C[:46]) is None
    assert found(directory, None, C) == ("u2", "app")


@pytest.mark.parametrize("front", ["", "a", A[:11]])
def test_a_few_digits_are_no_front(directory, front):
    """What is too short to be an id matches nothing, though it would be unique."""
    directory.put(slim_pod("u1", ids={A: "app"}))
    assert found(directory, None, front) is None
    assert found(directory, "u1", front) == ("u1", None)


def test_two_live_pods_that_claim_one_container_are_no_match(directory):
    """A container has one pod: where two say it is theirs, one lies."""
    directory.put(slim_pod("u1", ids={A: "app"}))
    directory.put(slim_pod("u2", ids={A: "app"}))
    assert found(directory, None, A) is None
    directory.remove("u1")
    assert found(directory, None, A) == ("u2", "app")


def test_containers_of_before_are_remembered(directory):
    """A killed container is known after further restarts, when the status has forgotten it."""
    directory.put(slim_pod("u1", ids={A: "app"}))
    directory.put(slim_pod("u1", ids={B: "app"}))
    directory.put(slim_pod("u1", ids={C: "app"}))
    assert {found(directory, "u1", each) for each in (A, B, C)} == {("u1", "app")}
    assert found(directory, None, A[:46]) == ("u1", "app")


def test_of_too_many_restarts_the_latest_are_remembered(directory):
    """A pod that restarts for ever costs a bounded number of ids; the oldest go."""
    ids = [f"{number:064x}" for number in range(1, MAX_PAST_IDS + 10)]
    for each in ids:
        directory.put(slim_pod("u1", ids={each: "app"}))
    known = [each for each in ids if found(directory, "u1", each) == ("u1", "app")]
    assert known == ids[-MAX_PAST_IDS - 1 :]


def test_a_deleted_pod_is_remembered_by_all_its_names(directory, clock):
    """For ten minutes a pod that is gone is found as before, and known to be gone."""
    directory.put(slim_pod("mirror", config_hash=HASH, ids={A: "etcd"}))
    directory.remove("mirror")
    clock.now_s += 599.0
    assert (
        found(directory, "mirror", A)
        == found(directory, HASH, A)
        == found(directory, None, A)
        == ("mirror", "etcd")
    )
    assert directory.is_gone("mirror")
    assert directory.pod("mirror") is not None
    assert list(directory.pods()) == []
    clock.now_s += 1.0
    assert found(directory, "mirror", A) is found(directory, HASH, A) is found(directory, None, A) is None
    assert directory.pod("mirror") is None
    assert not directory.is_gone("mirror")


def test_the_last_state_of_a_deleted_pod_counts(directory):
    """The event of a deletion may name containers that nobody has heard of, even of an unknown pod."""
    directory.put(slim_pod("u1"))
    directory.remove("u1", last_state=slim_pod("u1", ids={A: "app"}))
    directory.remove("u2", last_state=slim_pod("u2", ids={B: "app"}))
    assert (found(directory, "u1", A), found(directory, "u2", B)) == (("u1", "app"), ("u2", "app"))
    assert directory.is_gone("u1")
    assert directory.is_gone("u2")


def test_of_too_many_deleted_pods_the_latest_are_remembered(directory):
    """Jobs that come and go in thousands cost a bounded number of records; the longest gone go."""
    uids = [f"u{number}" for number in range(MAX_GONE + 20)]
    for uid in uids:
        directory.put(slim_pod(uid))
        directory.remove(uid)
    assert [uid for uid in uids if directory.is_gone(uid)] == uids[-MAX_GONE:]


def test_a_pod_that_comes_back_is_live(directory, clock):
    """A pod taken for deleted by an older list lives on, and is not forgotten later."""
    directory.put(slim_pod("u1"))
    directory.remove("u1")
    directory.put(slim_pod("u1"))
    clock.now_s += 10_000.0
    assert not directory.is_gone("u1")
    assert found(directory, "u1", None) == ("u1", None)


def test_a_successor_of_the_same_name_ends_its_predecessor(directory):
    """A StatefulSet's new pod has the name of the old one: both uids are known, the old one as gone."""
    directory.put(slim_pod("old", name="db-0", ids={A: "db"}))
    directory.put(slim_pod("new", name="db-0", ids={B: "db"}))
    assert directory.is_gone("old")
    assert not directory.is_gone("new")
    assert (found(directory, "old", A), found(directory, "new", B)) == (("old", "db"), ("new", "db"))
    directory.remove("old")  # the late news of it
    assert [pod.uid for pod in directory.pods()] == ["new"]


def test_a_list_says_what_is_there(directory):
    """A list adds, renews and removes, and tells the differences."""
    directory.replace([slim_pod("u1"), slim_pod("u2"), slim_pod("u3")])
    differences = directory.replace(
        [slim_pod("u2", phase="Failed"), slim_pod("u3", version=9), slim_pod("u4")]
    )
    assert (differences.added, differences.changed, differences.removed) == (("u4",), ("u2",), ("u1",))
    assert len(differences) == 3
    assert {pod.uid for pod in directory.pods()} == {"u2", "u3", "u4"}
    assert directory.is_gone("u1")
    assert directory.pod("u3").resource_version == 9


def test_the_first_list_is_a_change_even_if_it_is_empty(directory, clock):
    """Whoever waits for the directory to be known hears of the first list."""
    calls: list[bool] = []
    directory.on_change.append(lambda: calls.append(directory.is_synced))
    assert (directory.is_synced, directory.synced_at_s) == (False, None)
    directory.replace([])
    assert (directory.is_synced, directory.synced_at_s, calls) == (True, 50.0, [True])
    clock.now_s = 60.0
    directory.replace([])
    assert (directory.synced_at_s, calls, directory.version) == (60.0, [True], 1)


def test_followers_hear_of_each_change_and_of_nothing_else(directory):
    """A change is one call, after it is made; what changes nothing that we keep is none."""
    seen: list[tuple[int, int]] = []
    directory.on_change.append(lambda: seen.append((directory.version, len(directory))))
    pod = slim_pod("u1")
    directory.put(pod)
    directory.put(replace(pod, resource_version=2))  # a heartbeat
    directory.put(replace(pod, phase="Failed"))
    directory.remove("u2")
    directory.remove("u1")
    directory.remove("u1")
    directory.replace([slim_pod("u3"), slim_pod("u4")])
    assert seen == [(1, 1), (2, 1), (3, 0), (4, 2)]


def test_a_heartbeat_renews_the_version(directory):
    """The version of a pod is that of its latest state, though nobody is told."""
    directory.put(slim_pod("u1", version=5))
    directory.put(slim_pod("u1", version=8))
    assert directory.pod("u1").resource_version == 8


def test_a_follower_that_fails_costs_only_itself(directory, caplog):
    """A callback that raises ends neither the watch nor the other callbacks."""
    calls: list[int] = []
    directory.on_change += [lambda: 1 / 0, lambda: calls.append(directory.version)]
    directory.put(slim_pod("u1"))
    assert calls == [1]
    assert "ZeroDivisionError" in caplog.text

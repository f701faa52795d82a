from __future__ import annotations

from collections import OrderedDict

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from oomtracer.kube.directory import PodDirectory
from oomtracer.pods import Pod
from tests.unit.builders import examples

from .slim_pods import slim_pod

UIDS = [f"uid-{number}" for number in range(5)]
NAMES = ["db-0", "db-1", "db-2"]
HASHES = ["hash-0", "uid-4"]  # one that looks like a uid
IDS = ["c" * 30 + each * 34 for each in "0123"]
FRONTS = ["c" * 30, IDS[0][:46], IDS[1][:31], "c" * 11]
REMEMBER_S = 600.0

PODS = st.builds(
    slim_pod,
    uid=st.sampled_from(UIDS),
    name=st.sampled_from(NAMES),
    ids=st.dictionaries(st.sampled_from(IDS), st.sampled_from(["app", "proxy"]), max_size=2),
    config_hash=st.none() | st.sampled_from(HASHES),
    created_s=st.sampled_from([1000.0, 2000.0]),
    version=st.integers(1, 9),
)


class Record:
    """What the model knows of one pod."""

    def __init__(self, pod: Pod, serial: int) -> None:
        self.pod, self.serial = pod, serial
        self.gone_s: float | None = None
        self.ids: dict[str, str] = {}

    def names(self, container_id: str) -> set[tuple[str, str]]:
        """Every container that this id or front may mean."""
        if container_id in self.ids:
            return {(container_id, self.ids[container_id])}
        if len(container_id) < 12:
            return set()
        return {(each, name) for each, name in self.ids.items() if each.startswith(container_id)}


class DirectoryMachine(RuleBasedStateMachine):
    """The directory beside a plain list of all pods that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.serial = 0
        self.calls = 0
        self.directory = PodDirectory(clock=lambda: self.now_s, remember_s=REMEMBER_S)
        self.directory.on_change.append(self.called)
        self.records: OrderedDict[str, Record] = OrderedDict()

    def called(self) -> None:
        """Count the changes told."""
        self.calls += 1

    @rule(pod=PODS)
    def put(self, pod: Pod) -> None:
        """An event tells of a pod."""
        self.directory.put(pod)
        self.model_put(pod)

    @rule(uid=st.sampled_from(UIDS), last_state=st.none() | PODS)
    def remove(self, uid: str, last_state: Pod | None) -> None:
        """An event tells that a pod was deleted."""
        last_state = last_state if last_state and last_state.uid == uid else None
        self.directory.remove(uid, last_state=last_state)
        if last_state:
            self.model_put(last_state)
        self.model_remove(uid)

    @rule()
    def touch(self) -> None:
        """Contact is regained."""
        before = self.calls
        self.directory.touch()
        assert self.calls == before + 1

    @rule(pods=st.lists(PODS, max_size=4, unique_by=(lambda pod: pod.uid, lambda pod: pod.name)))
    def replace(self, pods: list[Pod]) -> None:
        """A list comes."""
        before = self.live()
        differences = self.directory.replace(pods)
        listed = {pod.uid for pod in pods}
        for uid in before.keys() - listed:
            self.model_remove(uid)
        for pod in pods:
            self.model_put(pod)
        assert set(differences.removed) == before.keys() - listed
        assert set(differences.added) == listed - before.keys()
        assert set(differences.changed) == {
            pod.uid for pod in pods if pod.uid in before and before[pod.uid] != pod
        }

    @rule(seconds=st.sampled_from([1.0, 300.0, 600.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds
        for uid, record in list(self.records.items()):
            if record.gone_s is not None and self.now_s - record.gone_s >= REMEMBER_S:
                del self.records[uid]

    def model_put(self, pod: Pod) -> None:
        """Note a pod; another one of its name is gone."""
        for other in self.records.values():
            same_name = (other.pod.namespace, other.pod.name) == (pod.namespace, pod.name)
            if same_name and other.pod.uid != pod.uid:
                self.model_remove(other.pod.uid)
        if pod.uid not in self.records:
            self.serial += 1
            self.records[pod.uid] = Record(pod, self.serial)
        record = self.records[pod.uid]
        record.pod, record.gone_s = pod, None
        record.ids |= pod.container_ids

    def model_remove(self, uid: str) -> None:
        """Note that a pod is gone."""
        record = self.records.get(uid)
        if record and record.gone_s is None:
            record.gone_s = self.now_s

    def live(self) -> dict[str, Pod]:
        """The live pods."""
        return {uid: record.pod for uid, record in self.records.items() if record.gone_s is None}

    def rank(self, record: Record) -> tuple[bool, float, int]:
        """Which of several is meant: the least."""
        if record.gone_s is None:
            return (False, record.pod.created_s, record.serial)
        return (True, -record.gone_s, record.serial)

    def find(self, pod_uid: str | None, container_id: str | None) -> tuple[Pod, str | None] | None:
        """Search everything."""
        if pod_uid is None:
            return self.find_container(container_id or "")
        if pod_uid in self.records:
            candidates = [self.records[pod_uid]]
        else:
            candidates = [each for each in self.records.values() if each.pod.config_hash == pod_uid]
            candidates.sort(key=self.rank)
        for record in candidates if container_id else ():
            names = record.names(container_id or "")
            if len(names) == 1:
                return candidates[0].pod, names.pop()[1]
        return (candidates[0].pod, None) if candidates else None

    def find_container(self, container_id: str) -> tuple[Pod, str | None] | None:
        """Search all containers."""
        matching = [record for record in self.records.values() if record.names(container_id)]
        full_ids = {each for record in matching for each, _ in record.names(container_id)}
        if len(full_ids) != 1 or sum(record.gone_s is None for record in matching) > 1:
            return None
        best = min(matching, key=self.rank)
        return best.pod, best.names(container_id).pop()[1]

    @invariant()
    def everything_is_found_as_in_the_model(self) -> None:
        """Every uid, hash, id and front finds the same."""
        for pod_uid in (None, *UIDS, *HASHES, "nobody"):
            for container_id in (None, *IDS, *FRONTS):
                identity = self.directory.find(pod_uid, container_id)
                found = identity and (identity.pod, identity.container)
                assert found == self.find(pod_uid, container_id), (pod_uid, container_id)

    @invariant()
    def the_same_are_live_and_gone(self) -> None:
        """The sets of live and gone pods are those of the model, and the versions are the latest."""
        versions = {pod.uid: pod.resource_version for pod in self.directory.pods()}
        assert versions == {uid: pod.resource_version for uid, pod in self.live().items()}
        assert len(self.directory) == len(versions)
        for uid in UIDS:
            assert self.directory.is_gone(uid) == (uid in self.records and uid not in versions)
            assert (self.directory.pod(uid) is None) == (uid not in self.records)

    @invariant()
    def nothing_is_left_in_an_index(self) -> None:
        """The indexes hold only what leads to a pod, so that memory follows the pods."""
        live, gone = self.directory._live, self.directory._gone
        assert set(self.directory._uid_by_name.values()) == live.keys()
        hashes = {entry.pod.config_hash for entry in (*live.values(), *gone.values())} - {None}
        assert self.directory._uids_by_hash.keys() == hashes
        assert all(self.directory._uids_by_hash.values())

    @invariant()
    def each_change_is_told_once(self) -> None:
        """The version is the number of calls."""
        assert self.directory.version == self.calls


DirectoryMachine.TestCase.settings = examples(60)


class TestDirectory(DirectoryMachine.TestCase):
    """Any sequence of events and lists leaves the directory as a plain search has it."""

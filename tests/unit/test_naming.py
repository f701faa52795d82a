from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import Owner, Workload, WorkloadKind
from oomtracer.pipeline import Naming, Ways
from oomtracer.pipeline.naming import COMPLETE_AFTER_S, MAX_WAITING, TELL_AFTER_S
from oomtracer.pods import Pod, PodIdentity

from .builders import CONTAINER_ID, POD_UID, examples, report, victim
from .virtual_clock import VirtualClock

GIVE_UP_AFTER_S = 900.0
OTHER_UID = "11111111-2222-4333-8444-555555555555"


def pod(uid: str = POD_UID, **changes) -> Pod:
    """Build a pod of a Deployment with two containers."""
    plain = Pod(
        uid=uid,
        namespace="shop",
        name=f"web-{uid[:4]}",
        config_hash=None,
        is_mirror=False,
        created_s=0.0,
        phase="Running",
        is_terminating=False,
        priority=0,
        controller=Owner(kind="ReplicaSet", name="web-7d4b9c6f5d"),
        owner=Owner(kind="Deployment", name="web"),
        containers=("app", "proxy"),
        container_ids={},
        shares_pid_namespace=False,
        annotations={},
        labels={},
    )
    return replace(plain, **changes)


def in_pod(number: int = 1, uid: str = POD_UID, **changes):
    """Build the report of a kill in a container."""
    workload = Workload(
        kind=WorkloadKind.POD, pod_uid=uid, container_id=CONTAINER_ID, static=False, resolved=False
    )
    values = {"id": f"kill-{number}", "workload": workload, "trigger_workload": workload, "init_died": False}
    return report(**(values | changes))


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.reports = []

    def emit(self, report) -> None:
        """Keep one."""
        self.reports.append(report)

    @property
    def containers(self) -> list:
        """The containers that were told."""
        return [report.workload.container for report in self.reports]

    @property
    def ids(self) -> list[str]:
        """The kills that were told."""
        return [report.id for report in self.reports]


class Broken:
    """A sink with a defect."""

    def emit(self, report) -> None:
        """Fail."""
        raise KeyError(report.id)


class Setup:
    """A Naming with its sinks, and the pods that it may ask for."""

    def __init__(self, *more) -> None:
        self.clock = VirtualClock()
        self.pods: dict[str, PodIdentity] = {}
        self.synced_at: float | None = 0.0
        self.told, self.named, self.complete = Kept(), Kept(), Kept()
        self.naming = Naming(
            lambda workload: self.pods.get(workload.pod_uid),
            told=[*more, self.told],
            named=[*more, self.named],
            complete=[*more, self.complete],
            synced_for_s=lambda: None if self.synced_at is None else self.clock.now - self.synced_at,
            give_up_after_s=GIVE_UP_AFTER_S,
            scheduler=self.clock,
        )

    def learn(self, *, container: str | None = None, **changes) -> None:
        """The API server tells of a pod."""
        known = pod(**changes)
        self.pods[known.uid] = PodIdentity(pod=known, container=container)
        self.naming.pods_changed()

    def counts(self) -> list[int]:
        """How many reports each kind of sink has."""
        return [len(each.reports) for each in (self.told, self.named, self.complete)]


def test_a_kill_of_a_known_container_goes_everywhere_at_once():
    """Nothing waits where all names are known."""
    setup = Setup()
    setup.learn(container="app")
    setup.naming.emit(in_pod())
    assert setup.counts() == [1, 1, 1]
    workload = setup.told.reports[0].workload
    assert (workload.namespace, workload.pod, workload.container) == ("shop", "web-8c5f", "app")
    assert workload.owner == Owner(kind="Deployment", name="web")
    assert (workload.resolved, workload.static, workload.container_id) == (True, False, CONTAINER_ID)
    assert setup.clock.pending == 0


def test_a_kill_outside_of_pods_goes_on_at_once():
    """What runs in a unit is nobody's pod, and has no name to wait for."""
    setup = Setup()
    setup.naming.emit(report())
    assert setup.counts() == [1, 1, 1]
    assert setup.clock.pending == 0


def test_a_pod_that_becomes_known_in_time_is_told_with_its_name():
    """The report waits for the pod, at most the time that standard output waits."""
    setup = Setup()
    setup.naming.emit(in_pod())
    setup.clock.advance(TELL_AFTER_S / 2)
    assert setup.counts() == [0, 0, 0]
    setup.learn(container="app")
    setup.clock.advance(0.1)
    assert setup.counts() == [1, 1, 1]
    assert setup.told.reports[0].workload.resolved


def test_a_pod_that_stays_unknown_is_told_unresolved():
    """After two seconds standard output gets the report as it is, after thirty the rest does."""
    setup = Setup()
    setup.naming.emit(in_pod())
    setup.clock.advance(TELL_AFTER_S)
    assert setup.counts() == [1, 0, 0]
    assert setup.told.reports[0].workload.resolved is False
    setup.clock.advance(COMPLETE_AFTER_S - TELL_AFTER_S)
    assert setup.counts() == [1, 1, 1]
    assert setup.complete.reports[0].workload.pod is None
    assert setup.clock.pending == 0


def test_a_pod_known_late_reaches_the_cluster_but_standard_output_only_once():
    """Later knowledge goes to marking and Events."""
    setup = Setup()
    setup.naming.emit(in_pod())
    setup.clock.advance(TELL_AFTER_S + 1)
    setup.learn(container="app")
    setup.clock.advance(0.1)
    assert setup.counts() == [1, 1, 1]
    assert setup.told.reports[0].workload.pod is None
    assert setup.complete.containers == ["app"]


def test_marking_does_not_wait_for_the_container():
    """The pod is enough for a mark; the report waits for the container's name."""
    setup = Setup()
    setup.learn()
    setup.naming.emit(in_pod())
    assert setup.counts() == [0, 1, 0]
    setup.learn(container="proxy")
    setup.clock.advance(0.1)
    assert setup.counts() == [1, 1, 1]
    assert setup.told.containers == ["proxy"]


def test_a_container_that_stays_unknown_is_told_without_name():
    """A pod may hold containers that the kubelet does not know; the pod's own name is told."""
    setup = Setup()
    setup.learn()
    setup.naming.emit(in_pod())
    setup.clock.advance(TELL_AFTER_S)
    assert setup.told.containers == [None]
    assert setup.told.reports[0].workload.resolved
    setup.clock.advance(COMPLETE_AFTER_S)
    assert setup.counts() == [1, 1, 1]


def test_the_only_container_of_a_pod_is_known_before_its_id_is():
    """Whoever dies in a pod with one container dies in that one ..."""
    setup = Setup()
    setup.learn(containers=("app",))
    setup.naming.emit(in_pod())
    assert setup.told.containers == ["app"]


def test_the_sandbox_is_not_taken_for_the_only_container():
    """... but for the sandbox, which has a score of its own."""
    setup = Setup()
    setup.learn(containers=("app",))
    setup.naming.emit(in_pod(victim=victim(oom_score_adj=-998)))
    setup.clock.advance(COMPLETE_AFTER_S)
    assert setup.complete.containers == [None]


def test_a_process_in_the_pod_s_own_cgroup_has_no_container_to_wait_for():
    """Without an id there is no name to find."""
    setup = Setup()
    setup.learn()
    kill = in_pod()
    setup.naming.emit(replace(kill, workload=replace(kill.workload, container_id=None)))
    assert setup.counts() == [1, 1, 1]


def test_nobody_waits_for_the_kill_of_another_pod():
    """A kill whose pod is known overtakes one whose pod is not."""
    setup = Setup()
    setup.learn(container="app", uid=OTHER_UID)
    setup.naming.emit(in_pod(1))
    setup.naming.emit(in_pod(2, uid=OTHER_UID))
    assert setup.told.ids == ["kill-2"]
    setup.clock.advance(TELL_AFTER_S)
    assert setup.told.ids == ["kill-2", "kill-1"]


def test_without_the_api_server_the_wait_goes_on_until_a_mark_would_be_too_late():
    """Thirty seconds count only while the pods of the node are known."""
    setup = Setup()
    setup.synced_at = None
    setup.naming.emit(in_pod())
    setup.clock.advance(GIVE_UP_AFTER_S - 1)
    assert setup.counts() == [1, 0, 0]
    setup.learn(container="app")
    setup.clock.advance(0.1)
    assert setup.counts() == [1, 1, 1]


def test_without_the_api_server_it_is_given_up_at_last():
    """Nothing waits for ever."""
    setup = Setup()
    setup.synced_at = None
    setup.naming.emit(in_pod())
    setup.clock.advance(GIVE_UP_AFTER_S)
    assert setup.counts() == [1, 1, 1]
    assert setup.naming.waiting == 0


def test_the_wait_starts_anew_once_the_pods_are_known():
    """A list that has just come may be older than the container."""
    setup = Setup()
    setup.synced_at = None
    setup.naming.emit(in_pod())
    setup.clock.advance(100)
    setup.synced_at = setup.clock.now
    setup.naming.pods_changed()
    setup.clock.advance(COMPLETE_AFTER_S - 1)
    assert setup.counts() == [1, 0, 0]
    setup.clock.advance(1)
    assert setup.counts() == [1, 1, 1]


def test_too_many_that_wait_push_the_oldest_on():
    """The number that waits is bounded, and none is lost."""
    setup = Setup()
    for number in range(MAX_WAITING + 3):
        setup.naming.emit(in_pod(number))
    assert setup.told.ids == setup.complete.ids == ["kill-0", "kill-1", "kill-2"]
    assert setup.naming.waiting == MAX_WAITING


def test_the_end_hands_on_all_that_waits():
    """At the end each report is told as far as it is known."""
    setup = Setup()
    for number in range(5):
        setup.naming.emit(in_pod(number))
    setup.naming.finish()
    assert setup.told.ids == setup.complete.ids == [f"kill-{number}" for number in range(5)]
    assert setup.clock.pending == 0


def test_what_is_kept_for_the_next_start_is_only_told():
    """With a journal those that are owed a report for longer get it from the next process."""
    setup = Setup()
    for number in range(3):
        setup.naming.emit(in_pod(number))
    setup.naming.finish(keeps=True)
    assert setup.counts() == [3, 0, 0]
    assert setup.clock.pending == 0


def test_a_pod_that_dies_in_a_loop_pushes_on_only_its_own():
    """Where too many wait, the oldest of the pod with the most goes; others keep their time."""
    setup = Setup()
    setup.naming.emit(in_pod(0, uid=OTHER_UID))
    for number in range(1, MAX_WAITING + 50):
        setup.naming.emit(in_pod(number))
    assert setup.complete.ids == [f"kill-{number}" for number in range(1, 51)]
    setup.learn(container="app", uid=OTHER_UID)
    setup.clock.advance(1)
    assert setup.complete.ids[-1] == "kill-0"
    assert setup.complete.reports[-1].workload.resolved


def test_a_resumed_report_goes_only_where_it_is_owed():
    """Those that had it from an earlier process do not get it again."""
    setup = Setup()
    setup.learn(container="app")
    setup.naming.resume(in_pod(1), Ways(complete=[setup.complete]), age_s=10.0)
    setup.naming.resume(in_pod(2), Ways(named=[setup.named]), age_s=10.0)
    assert setup.told.ids == []
    assert setup.named.ids == ["kill-2"]
    assert setup.complete.ids == ["kill-1"]


def test_a_resumed_report_waits_for_names_from_its_kill_on():
    """It has its time after the pods are known, and is given up as long after the kill as any other."""
    setup = Setup()
    setup.synced_at = None
    ways = Ways(named=[setup.named], complete=[setup.complete])
    setup.naming.resume(in_pod(1), ways, age_s=GIVE_UP_AFTER_S - 100)
    setup.clock.advance(99)
    assert setup.counts() == [0, 0, 0]
    setup.clock.advance(1)
    assert setup.counts() == [0, 1, 1]
    setup.synced_at = setup.clock.now
    setup.naming.resume(in_pod(2), ways, age_s=100.0)
    setup.clock.advance(COMPLETE_AFTER_S - 1)
    assert setup.counts() == [0, 1, 1]
    setup.clock.advance(1)
    assert setup.counts() == [0, 2, 2]


def test_the_trigger_is_named_too():
    """A trigger in another pod is told by that pod's name, whoever the victim is."""
    setup = Setup()
    setup.learn(container="proxy", uid=OTHER_UID)
    other = in_pod(uid=OTHER_UID).workload
    setup.naming.emit(report(trigger_workload=other))
    assert setup.told.reports[0].trigger_workload.container == "proxy"


def test_a_known_trigger_is_named_though_the_victim_is_not():
    """What is known is told."""
    setup = Setup()
    setup.learn(container="proxy", uid=OTHER_UID)
    setup.naming.emit(in_pod(trigger_workload=in_pod(uid=OTHER_UID).workload))
    setup.clock.advance(TELL_AFTER_S)
    told = setup.told.reports[0]
    assert (told.workload.resolved, told.trigger_workload.container) == (False, "proxy")


def test_a_pod_that_did_not_change_is_not_looked_at_again():
    """Many that wait for a container cost little while other pods change."""
    setup = Setup()
    setup.learn()
    kill = in_pod()
    setup.naming.emit(kill)
    for _ in range(5):
        setup.naming.pods_changed()
        setup.clock.advance(0.1)
    assert setup.counts() == [0, 1, 0]
    setup.learn(container="app", phase="Running")
    setup.clock.advance(0.1)
    assert setup.told.containers == ["app"]


def test_process_1_says_nothing_where_the_pod_shares_its_pid_namespace():
    """In such a pod process 1 is the sandbox's, and the death of another's is not told by it."""
    setup = Setup()
    setup.learn(container="app", shares_pid_namespace=True)
    setup.naming.emit(in_pod(init_died=False))
    assert setup.told.reports[0].init_died is None


def test_a_sink_with_a_defect_costs_only_its_own():
    """The other sinks get the report, and the failure is counted."""
    setup = Setup(Broken())
    setup.learn(container="app")
    setup.naming.emit(in_pod())
    assert setup.counts() == [1, 1, 1]
    assert setup.naming.untold == 3


@pytest.mark.parametrize("container", [None, "app"])
@examples(200)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("kill"), st.booleans()),
            st.tuples(st.just("wait"), st.floats(0.0, 40.0)),
            st.tuples(st.just("learn"), st.booleans()),
        ),
        max_size=30,
    )
)
def test_every_report_is_told_once_and_completed_once(container, steps):
    """Whatever comes when, each kill reaches standard output and the rest exactly once, in time."""
    setup = Setup()
    emitted = {}
    for number, (step, value) in enumerate(steps):
        if step == "kill":
            kill = in_pod(number, uid=POD_UID if value else OTHER_UID)
            emitted[kill.id] = setup.clock.now
            setup.naming.emit(kill)
        elif step == "wait":
            setup.clock.advance(value)
        else:
            setup.learn(uid=POD_UID if value else OTHER_UID, container=container)
        late = {key for key, since in emitted.items() if setup.clock.now - since > TELL_AFTER_S}
        assert late <= set(setup.told.ids)
    setup.clock.advance(COMPLETE_AFTER_S + 0.1)
    assert sorted(setup.told.ids) == sorted(setup.complete.ids) == sorted(emitted)
    assert sorted(setup.named.ids) == sorted(emitted)
    assert (setup.naming.waiting, setup.clock.pending) == (0, 0)

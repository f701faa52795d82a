from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.config import Marking
from oomtracer.events import Group, LimitOwner, Outcome, Scope, Trigger, Workload, WorkloadKind
from oomtracer.kube.event import NOTE_BYTES
from oomtracer.policy import Decision, Reason
from oomtracer.printable import size
from oomtracer.sinks.kube_events.compose import incident_event, incident_key, mark_event
from oomtracer.sinks.kube_events.gather import Incident
from oomtracer.sinks.kube_events.subject import field_path, node_subject, pod_subject
from tests.unit import strategies
from tests.unit.builders import CONTAINER, MIB, POD, QOS, examples, level, limit, unfit, victim

from .event_scene import LEFT_ALONE, MARKING, incident_of, kill, node_kill, pod, workload

DRY_RUN = Marking()
FOREIGN = "foreign"
DECISIONS = st.none() | st.builds(Decision, mark=st.booleans(), reason=st.sampled_from(Reason))
MARKINGS = st.sampled_from([MARKING, DRY_RUN])


def note_of(*reports, decision=LEFT_ALONE, marking=MARKING) -> str:
    """Write the note of a pod's Event."""
    subject = pod_subject(reports[0].workload, None)
    return incident_event(incident_of([*reports], subject, None), decision, marking).note


def node_note_of(*reports) -> str:
    """Write the note of a node's Event."""
    return incident_event(incident_of([*reports], node_subject("node-1"), None), None, MARKING).note


def group(size: int, **changes):
    """Build the reports of a group kill, the first with pid 1."""
    return [
        kill(
            None,
            number,
            incident="boot:41000:1",
            group=Group(id="boot:41000:1", index=number),
            init_died=number == 0,
            **changes,
        )
        for number in range(size)
    ]


def test_the_kill_of_a_child_says_that_the_container_goes_on():
    """What Kubernetes shows nowhere else: the main process survived, and what was lost all the same."""
    assert note_of(kill()) == (
        'Process "gunicorn" (pid 20 in container "web", pid 41000 on the node) was killed by the kernel\'s OOM '
        "killer: the container's memory limit was reached (64.0 MiB of 64.0 MiB in use). "
        "It held anon 60.0 MiB, file 3.0 MiB, shmem 0 B. "
        "The container's main process (PID 1) survived: the pod's status and restart count do not show this kill. "
        "The pod is not marked for eviction: another node would not help against its own limit "
        "(container_limit_hit)."
    )


def test_a_group_kill_tells_its_size_and_what_all_held():
    """Processes that the kernel killed together are one incident: how many, how much, and that PID 1 was one."""
    note = note_of(*group(4))
    assert "and 3 more processes were killed" in note
    assert "shmem 0 B; all 4 held 252 MiB." in note
    assert "One of them was the container's main process (PID 1): the container ends." in note


def test_the_death_of_the_main_process_is_told():
    """If it was PID 1 the container ends, and the pod's status may show it."""
    assert "It was the container's main process (PID 1): the container ends." in note_of(kill(init_died=True))
    assert "main process" not in note_of(kill(init_died=None))


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        (LimitOwner.CONTAINER, ": the container's memory limit was reached"),
        (LimitOwner.POD, ": the pod's memory limit was reached"),
        (LimitOwner.QOS, ": the limit of all pods of its QoS class on the node was reached"),
        (LimitOwner.KUBEPODS, ": the limit of all pods of the node was reached"),
        (LimitOwner.SLICE, ": a memory limit above the pod was reached"),
        (LimitOwner.OTHER, ": a memory limit above the pod was reached"),
    ],
)
def test_whose_limit_was_reached_is_told(owner, words):
    """The one thing that decides what to do next, and how sure it is."""
    hit = limit(owner=owner, cgroup="/other")
    assert words in note_of(kill(limit=hit))
    assert words.replace(": ", ": probably ") in note_of(kill(limit=replace(hit, certain=False)))


def test_the_container_that_a_node_is_is_above_the_pod():
    """Where nodes are containers, a container's limit that holds the pod is not that of the pod's container."""
    outer = "/docker/" + "a" * 64
    levels = (
        level(f"{outer}{CONTAINER}"),
        level(f"{outer}{POD}"),
        level(f"{outer}{QOS}"),
        level(outer, MIB, MIB),
    )
    hit = limit(owner=LimitOwner.CONTAINER, cgroup=outer)
    assert "a memory limit above the pod was reached" in note_of(kill(limit=hit, levels=levels))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scope": Scope.GLOBAL}, "the node ran out of memory, whatever the pod's own limits."),
        ({"scope": Scope.CPUSET}, "the memory nodes that its cpuset allows are full."),
        ({"scope": Scope.MEMPOLICY}, "the memory nodes that its memory policy allows are full."),
        ({"scope": Scope.UNKNOWN}, "which memory ran out is not known."),
        ({"scope": Scope.MEMCG}, "a memory limit was reached, which one is not known."),
        ({"scope": Scope.GLOBAL, "sysrq": True}, "an administrator asked for it (sysrq)."),
    ],
)
def test_without_a_limit_the_scope_is_told(changes, words):
    """Which memory ran out, as far as it is known."""
    assert words in note_of(kill(limit=None, **changes))


def test_a_process_of_which_only_the_mark_is_known_was_not_surely_killed():
    """Where the hook that tells a kill from a mark is missing, the note does not claim one."""
    assert "was marked for killing" in note_of(kill(outcome=Outcome.UNKNOWN))


@pytest.mark.parametrize("container_pid", [None, 41_000])
def test_one_pid_is_told_where_there_is_only_one(container_pid):
    """Without a pid namespace of its own a process has the node's pid alone."""
    same = victim(pid=41_000, container_pid=container_pid, comm="gunicorn")
    assert '(pid 41000 on the node, container "web")' in note_of(kill(victim=same))
    unnamed = kill(victim=same, container=None)
    assert "(pid 41000 on the node) was" in note_of(unnamed)
    assert "(pid 20 in its container, pid 41000 on the node) was" in note_of(kill(container=None))


def test_sizes_that_are_not_known_are_no_zeros():
    """An unknown size is a question mark, also in a sum."""
    one = kill()
    other = kill(None, 1, incident=one.incident, victim=victim(anon_rss_bytes=None))
    assert "anon ?, file 3.0 MiB" in note_of(other)
    assert "all 2 held ?." in note_of(one, other)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (150 * MIB, "150 MiB"),
        (2**70, "1024 EiB"),
    ],
)
def test_sizes_are_short(size_bytes, text):
    """A size has the unit that leaves three digits."""
    assert size(size_bytes) == text


def test_a_trigger_in_the_same_pod_is_named():
    """Who asked for the memory is told where it is the reader's own process."""
    mine = kill()
    other = Trigger(pid=7, tid=7, comm="batch", cgroup="/x")
    words = 'The memory was asked for by process "batch" (pid 7 on the node) of '
    same = replace(mine, trigger=other)
    assert words + "the same container." in note_of(same)
    assert words + 'container "log".' in note_of(replace(same, trigger_workload=workload(pod(), "log")))
    nameless = workload(pod(), None, container_id="x")
    assert words + "the same pod." in note_of(replace(same, trigger_workload=nameless))
    assert words + 'pod "shop-1".' in note_of(replace(same, trigger_workload=workload(pod(1))))
    assert "asked for" not in note_of(mine)
    assert "asked for" not in note_of(replace(same, trigger_workload=None))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"namespace": "bank", "pod": "ledger-0"}, "namespace"),
        ({"namespace": None, "pod": None, "resolved": False}, "pod"),
        ({"kind": WorkloadKind.UNIT, "namespace": None, "unit": "sshd.service"}, "pod"),
        ({"kind": WorkloadKind.HOST, "namespace": None}, "pod"),
        ({"kind": WorkloadKind.CONTAINER, "namespace": "shop", "pod": "shop-0"}, "pod"),
    ],
)
def test_a_trigger_elsewhere_is_not_named(changes, where):
    """A process of somebody else is only said to be one."""
    other = replace(workload(pod(1)), container="db", **changes)
    report = kill(trigger=Trigger(pid=7, tid=7, comm="postgres", cgroup="/x"), trigger_workload=other)
    note = note_of(report)
    assert f"The memory was asked for by a process outside this {where}." in note
    assert not {"postgres", "ledger-0", "bank", "sshd", "db"} & set(note.replace(".", " ").split())


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_for_leaving_a_pod_alone_has_words_and_its_name(reason):
    """The name is what metrics and docs say, the words are for who reads only this."""
    note = note_of(kill(), decision=Decision(mark=False, reason=reason))
    assert f" ({reason})." in note
    assert "_" not in note.partition("eviction: ")[2].partition(" (")[0]


def test_a_note_that_is_too_long_keeps_what_matters_most():
    """Names that swell when they are made printable cost the end of the text."""
    note = note_of(kill(victim=victim(comm="\u202e" * 150)))
    assert len(note.encode()) == NOTE_BYTES
    assert note.startswith('Process "\\u202e')
    assert "was killed by the kernel's OOM killer" in note


def test_what_was_decided_is_told():
    """A mark is announced, a dry run says what it would have done, and where nothing was decided nothing is said."""
    decision = Decision(mark=True, reason=Reason.NODE_OUT_OF_MEMORY)
    assert (
        "The pod was chosen for eviction (node_out_of_memory); a MarkedForEviction Event follows"
        in note_of(kill(), decision=decision)
    )
    dry_run = note_of(kill(), decision=decision, marking=DRY_RUN)
    assert "The pod would be marked for eviction (node_out_of_memory), but this is a dry run." in dry_run
    assert "evict" not in note_of(kill(), decision=None)


def test_the_event_of_a_node_names_no_pod():
    """The node's Event is for everybody who may read it: process, pid and sizes, but not whose."""
    reports = [
        node_kill(pod(number), number, incident="boot:41000:1", container="private") for number in (0, 1)
    ]
    assert node_note_of(*reports) == (
        'The node ran out of memory: process "gunicorn" (pid 41000, in a pod) and 1 more process were killed by '
        "the kernel's OOM killer. It held anon 60.0 MiB, file 3.0 MiB, shmem 0 B; all 2 held 126 MiB."
    )


@pytest.mark.parametrize(
    ("of", "place"),
    [
        (Workload(kind=WorkloadKind.UNIT, unit="shop.service"), ", in unit shop.service)"),
        (Workload(kind=WorkloadKind.UNIT), "41000)"),
        (Workload(kind=WorkloadKind.CONTAINER, container_id="ab"), ", in a container)"),
        (Workload(kind=WorkloadKind.HOST), "41000)"),
    ],
)
def test_the_event_of_a_node_names_units_of_the_node(of, place):
    """A unit is the node's own, and its administrator's business."""
    assert place in node_note_of(replace(node_kill(), workload=of))


def test_a_kill_that_was_asked_for_is_not_blamed_on_the_node():
    """After sysrq-f nobody should look for a lack of memory."""
    assert node_note_of(node_kill(sysrq=True)).startswith("An administrator asked for an OOM kill (sysrq): ")


def test_a_mark_tells_what_was_set_and_why():
    """The keys, the kill, and who is to do the rest."""
    event = mark_event(kill(), pod_subject(kill().workload, pod()), MARKING, time="t")
    assert event.note == (
        "Marked for eviction with annotation oom-tracer.alpha.kubernetes.io/evict-me=yes after the OOM kill of "
        'process "gunicorn" (pid 41000 on the node). '
        "A descheduler that looks for this mark moves the pod to another node."
    )
    assert (event.reason, event.is_warning) == ("MarkedForEviction", False)


def test_a_container_is_pointed_at_as_the_kubelet_does():
    """Init and ephemeral containers have paths of their own; without a known container there is none."""
    one = pod()
    assert field_path("web", one) == "spec.containers{web}"
    assert field_path("setup", one) == "spec.initContainers{setup}"
    assert field_path("debug", one) == "spec.ephemeralContainers{debug}"
    assert field_path("web", None) == "spec.containers{web}"
    assert field_path(None, one) is None


def test_a_static_pod_is_told_under_the_uid_that_describe_looks_for():
    """The value of the mirror annotation, which is the config hash, is what kubectl searches for."""
    static = pod(config_hash="0123456789abcdef0123456789abcdef", is_mirror=True)
    assert pod_subject(workload(static), static).uid == "0123456789abcdef0123456789abcdef"
    assert pod_subject(workload(static), None).uid == "0123456789abcdef0123456789abcdef"
    assert pod_subject(workload(pod()), pod()).uid == pod().uid


def test_without_name_or_uid_there_is_nothing_to_tell_it_on():
    """An Event needs a pod that exists."""
    for unknown in ({"namespace": None}, {"pod": None}, {"pod_uid": None}):
        assert pod_subject(replace(workload(pod()), **unknown), None) is None


def test_processes_of_several_containers_point_at_none():
    """A group kill of a whole pod is the pod's."""
    reports = [kill(container=container, incident="i") for container in ("web", "log")]
    incident = incident_of(reports, pod_subject(reports[0].workload, pod()), pod())
    event = incident_event(incident, None, MARKING)
    assert event.regarding.field_path is None
    assert incident_key(incident, None).container is None


def foreign_reports() -> st.SearchStrategy:
    """Build any report of a known pod; what triggered it is somebody else's or nobody's, and told as such."""
    return st.builds(
        lambda report, other, pid, hidden: replace(
            report,
            workload=replace(
                report.workload, kind=WorkloadKind.POD, namespace="shop", pod="shop-0", pod_uid="mine"
            ),
            trigger=Trigger(pid=pid, tid=pid, comm=FOREIGN, cgroup=f"/{FOREIGN}"),
            trigger_workload=replace(
                other,
                namespace=FOREIGN,
                pod=FOREIGN,
                pod_uid=FOREIGN,
                container=FOREIGN,
                container_id=FOREIGN,
                unit=FOREIGN,
                slice=FOREIGN,
            ),
            victim=replace(report.victim, cmdline=hidden),
        ),
        strategies.reports(),
        strategies.workloads(),
        st.integers(0, 10),
        st.just("--password=foreign"),
    ).filter(lambda report: FOREIGN not in f"{report.workload.container} {report.victim.comm}")


@given(foreign_reports(), st.integers(1, 5), DECISIONS, MARKINGS)
@examples(400)
def test_the_event_of_any_report_is_fit_for_everybody(report, processes, decision, marking):
    """At most 1,024 bytes of printable text, about this pod alone, and never a command line."""
    assert_fit(incident_of([report] * processes, pod_subject(report.workload, None), None), decision, marking)


@given(foreign_reports(), st.integers(1, 5))
@examples(200)
def test_the_event_of_a_node_is_fit_for_everybody(report, processes):
    """The same holds for the node's."""
    incident = incident_of([report] * processes, node_subject("node-1"), None)
    assert_fit(incident, None, MARKING)
    assert "shop" not in incident_event(incident, None, MARKING).note.replace(report.victim.comm, "")


def assert_fit(incident: Incident, decision, marking) -> None:
    """Check what everybody relies on."""
    event = incident_event(incident, decision, marking)
    assert len(event.note.encode()) <= NOTE_BYTES
    assert not unfit(event.note)
    assert FOREIGN not in event.note
    assert len(event.note) > 20

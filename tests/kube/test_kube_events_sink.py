from __future__ import annotations

import asyncio

import pytest

from oomtracer.events import Group, LimitOwner, Outcome, Workload, WorkloadKind
from oomtracer.policy import Decision, Reason
from oomtracer.sinks.kube_events.gather import SETTLE_S
from oomtracer.sinks.kube_events.ledger import END_S, UPDATE_INTERVAL_S
from tests.unit.builders import limit

from .event_scene import EXPIRED, Scene, answering, counts, gaps, kill, node_kill, pod, refusing, workload
from .scripted_api import DOWN
from .virtual_time import now, run_virtual

UNIT = Workload(kind=WorkloadKind.UNIT, unit="shop.service", slice="system.slice")


# ------------------------------------------------------------------------------------ what is told


def test_a_kill_is_told_on_its_pod():
    """One POST in the pod's namespace, about the container, by this program on this node, once it is complete."""

    async def main():
        async with Scene() as scene:
            started_s = now()
            scene.sink.emit(kill())
            assert scene.sink.pending == 1
            await scene.settle()
            [request] = scene.api.requests
            assert request.at_s == pytest.approx(started_s + SETTLE_S)
            assert request.path == "/apis/events.k8s.io/v1/namespaces/shop/events"
            document = request.document
            assert document["regarding"] == {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": "shop",
                "name": "shop-0",
                "uid": pod().uid,
                "fieldPath": "spec.containers{web}",
            }
            assert document["eventTime"] == "2026-03-01T12:34:00.789012Z"
            told = {key: document[key] for key in ("reason", "action", "type", "reportingInstance")}
            assert told == {
                "reason": "ProcessOOMKilled",
                "action": "OOMKill",
                "type": "Warning",
                "reportingInstance": "node-1",
            }
            assert document["metadata"]["name"].startswith("shop-0.")
            assert (scene.sink.sent, scene.sink.updated, scene.dropped) == (1, 0, {})

    run_virtual(main())


def test_a_group_kill_is_one_event():
    """Processes that die together are one incident, however many."""

    async def main():
        async with Scene() as scene:
            for number in range(30):
                group = Group(id="i", index=number)
                scene.sink.emit(kill(None, number, incident="boot:41000:1", group=group))
                await asyncio.sleep(0.001)
            await scene.settle()
            [request] = scene.api.requests
            assert "and 29 more processes were killed" in request.document["note"]

    run_virtual(main())


def test_a_node_out_of_memory_is_told_on_the_pod_and_on_the_node():
    """The developer sees the one, the administrator the other, and each only what is theirs."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(node_kill())
            await scene.settle()
            told = {request.document["reason"]: request for request in scene.created}
            assert set(told) == {"ProcessOOMKilled", "NodeOOMKilled"}
            node = told["NodeOOMKilled"]
            assert node.path == "/apis/events.k8s.io/v1/namespaces/default/events"
            assert node.document["regarding"] == {
                "apiVersion": "v1",
                "kind": "Node",
                "name": "node-1",
                "uid": "node-1",
            }
            assert "shop" not in node.document["note"]

    run_virtual(main())


def test_an_incident_in_two_pods_is_told_on_both():
    """What was killed in one pod is nobody else's business."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(kill(pod(0), 0, incident="boot:41000:1"))
            scene.sink.emit(kill(pod(1), 1, incident="boot:41000:1"))
            await scene.settle()
            assert [request.document["regarding"]["name"] for request in scene.created] == [
                "shop-0",
                "shop-1",
            ]
            names = {request.document["metadata"]["name"] for request in scene.created}
            assert len(names) == 2
            assert not any("more process" in request.document["note"] for request in scene.created)

    run_virtual(main())


@pytest.mark.parametrize(
    "report",
    [
        kill(selftest=True),
        node_kill(selftest=True),
        kill(outcome=Outcome.ALREADY_EXITING),
        kill(workload=UNIT),
        kill(workload=Workload(kind=WorkloadKind.HOST)),
        kill(workload=Workload(kind=WorkloadKind.CONTAINER, container_id="ab")),
    ],
)
def test_what_concerns_no_pod_makes_no_event(report):
    """Self-tests, processes that were exiting anyway, and workloads that the cluster knows nothing of."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(report)
            await asyncio.sleep(60.0)
            assert scene.api.requests == []
            assert scene.dropped == {}

    run_virtual(main())


def test_the_node_is_told_of_whatever_died_on_it():
    """A unit that was killed because the node ran out of memory has no pod, but the node has an Event."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(node_kill(workload=UNIT))
            await scene.settle()
            assert [request.document["reason"] for request in scene.created] == ["NodeOOMKilled"]

    run_virtual(main())


@pytest.mark.parametrize(
    "unknown",
    [
        workload(pod(), resolved=False),
        Workload(kind=WorkloadKind.POD, pod_uid="never-seen", resolved=False),
        Workload(kind=WorkloadKind.POD, pod_uid="never-seen"),
    ],
)
def test_a_pod_that_is_not_known_is_counted(unknown):
    """Without a name there is nothing to tell it on; the node is told all the same."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(kill(workload=unknown))
            scene.sink.emit(node_kill(None, 1, workload=unknown))
            await scene.settle()
            assert scene.dropped == {"no_pod_match": 2}
            assert [request.document["reason"] for request in scene.created] == ["NodeOOMKilled"]

    run_virtual(main())


def test_a_pod_that_is_forgotten_meanwhile_is_told_of_by_what_the_report_says():
    """A report that was named once stays named."""

    async def main():
        async with Scene(lookup=lambda _: None) as scene:
            scene.sink.emit(kill())
            await scene.settle()
            assert scene.created[0].document["regarding"]["uid"] == pod().uid

    run_virtual(main())


def test_what_was_decided_meanwhile_is_told():
    """Marking decides on the same report, before or after this sink took it."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(kill())
            scene.decisions["boot:41000:1"] = Decision(mark=False, reason=Reason.BUDGET_SPENT)
            await scene.settle()
            assert "(budget_spent)" in scene.created[0].document["note"]

    run_virtual(main())


def test_a_mark_is_told_on_the_pod():
    """Once the pod is marked; it is no warning."""

    async def main():
        async with Scene() as scene:
            scene.sink.marked(kill(), pod())
            await scene.settle()
            [request] = scene.created
            document = request.document
            assert (document["reason"], document["type"]) == ("MarkedForEviction", "Normal")
            assert document["regarding"]["uid"] == pod().uid
            assert len(document["eventTime"]) == len("2026-03-01T12:34:56.789012Z")

    run_virtual(main())


def test_what_comes_late_is_counted():
    """A process whose incident was told already has no Event."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(kill())
            await scene.settle()
            scene.sink.emit(kill(None, 1, incident="boot:41000:1"))
            await scene.settle()
            assert (scene.sink.sent, scene.dropped) == (1, {"late": 1})

    run_virtual(main())


# ------------------------------------------------------------------------------------------ series


def test_repeated_kills_count_up_one_event():
    """The first kill is told, the others by a merge patch of the series, ten seconds apart or more."""

    async def main():
        async with Scene() as scene:
            for number in range(30):
                scene.sink.emit(kill(None, number))
                await asyncio.sleep(1.0)
            await scene.settle()
            [created] = scene.created
            assert counts(scene.patched)[-1] == 30
            assert min(gaps(scene.api.requests)) >= UPDATE_INTERVAL_S
            last = scene.patched[-1]
            assert last.path == f"{created.path}/{created.document['metadata']['name']}"
            assert last.content_type == "application/merge-patch+json"
            series = {"count": 30, "lastObservedTime": "2026-03-01T12:34:29.789012Z"}
            assert last.document == {"series": series}
            assert (scene.sink.sent, scene.sink.updated) == (1, len(scene.patched))

    run_virtual(main())


def test_after_six_quiet_minutes_a_kill_is_a_new_event():
    """With a note of its own, and another name."""

    async def main():
        async with Scene() as scene:
            for number in range(2):
                scene.sink.emit(kill(None, number))
                await asyncio.sleep(END_S + 1)
            names = [request.document["metadata"]["name"] for request in scene.created]
            assert len(set(names)) == 2
            assert scene.patched == []

    run_virtual(main())


def test_kills_of_another_kind_are_another_event():
    """A container's own limit and the pod's need two different remedies."""

    async def main():
        async with Scene() as scene:
            scene.sink.emit(kill())
            scene.sink.emit(kill(None, 1, limit=limit(owner=LimitOwner.POD)))
            scene.sink.emit(kill(None, 2, container="log"))
            await scene.settle()
            assert len(scene.created) == 3
            assert scene.patched == []

    run_virtual(main())


def test_a_kill_that_ends_the_container_is_not_counted_among_those_it_survived():
    """What an Event says of the main process is true of all that it counts."""

    async def main():
        async with Scene() as scene:
            for number in range(30):
                scene.sink.emit(kill(None, number, init_died=number in {20, 25}))
            await scene.settle()
            survived, ended = scene.created
            assert "(PID 1) survived" in survived.document["note"]
            assert "(PID 1): the container ends" in ended.document["note"]
            assert counts([survived, ended]) == [28, 2]

    run_virtual(main())


def test_the_node_has_one_series_whatever_ended():
    """Its Event says nothing of containers."""

    async def main():
        async with Scene() as scene:
            for number, init_died in enumerate((False, True, None)):
                scene.sink.emit(node_kill(None, number, workload=UNIT, init_died=init_died))
            await scene.settle()
            assert counts(scene.created) == [3]

    run_virtual(main())


def test_kills_before_the_first_write_are_told_by_it():
    """The Event is created with the count that it has by then."""

    async def main():
        async with Scene(answering(DOWN)) as scene:
            scene.sink.emit(kill())
            await scene.until(lambda: bool(scene.api.requests))
            scene.sink.emit(kill(None, 1))
            await asyncio.sleep(SETTLE_S)
            await scene.settle()
            assert counts(scene.created) == [1, 2]
            assert scene.patched == []

    run_virtual(main())


def test_an_event_that_expired_is_created_anew():
    """After its time to live the Event is gone; the same one is created with the count it has."""

    async def main():
        async with Scene(refusing(EXPIRED, method="PATCH")) as scene:
            for number in range(2):
                scene.sink.emit(kill(None, number))
                await scene.settle()
            one, other = scene.created
            assert counts([one, other]) == [1, 2]
            assert one.document == {key: other.document[key] for key in one.document}
            assert scene.sink.sent == 2

    run_virtual(main())

"""Events against the fake API server, which validates as the real one does, over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import WorkloadKind
from oomtracer.kube.event import EventOutcome, Occurrences, create_event, update_event
from oomtracer.sinks.kube_events.compose import incident_event, mark_event
from oomtracer.sinks.kube_events.subject import node_subject, pod_subject
from tests.unit import strategies
from tests.unit.builders import examples

from .apiserver import (
    OBSERVE,
    FakeApiServer,
    Truncated,
    as_core,
    etcd_timeout,
    event_policy,
    make_pod,
    make_static_pod,
    overloaded,
)
from .event_scene import LEFT_ALONE, MARKING, NODE, Scene, incident_of, kill, node_kill, pod
from .recordings import recorded
from .virtual_time import run_virtual
from .wire_api import wire

CONFIG_HASH = "0123456789abcdef0123456789abcdef"


@asynccontextmanager
async def scene(*, node: str = NODE) -> AsyncIterator[tuple[FakeApiServer, Scene]]:
    """Run a server with the pod ``shop-0``; an EventSink tells it of kills."""
    async with FakeApiServer(node=node) as server, wire(server) as api:
        server.add_pod(make_pod("shop-0", namespace="shop", uid=pod().uid, node=NODE, containers=["web"]))
        async with Scene(api=api) as told:
            yield server, told


def described(server: FakeApiServer, namespace: str, name: str, uid: str) -> list[str]:
    """Find the reasons of the Events that ``kubectl describe`` would show: it selects by name and uid."""
    core = [as_core(event) for event in server.events if event["metadata"]["namespace"] == namespace]
    about = [event for event in core if event["involvedObject"]["name"] == name]
    return [event["reason"] for event in about if event["involvedObject"]["uid"] == uid]


def test_the_events_of_a_kill_are_taken():
    """A kill by the node running out of memory, and the mark after it: three Events that describe would show."""

    async def main():
        async with scene() as (server, told):
            told.sink.emit(node_kill())
            told.sink.marked(node_kill(), pod())
            await told.settle()
            on_pod = described(server, "shop", "shop-0", pod().uid)
            assert sorted(on_pod) == ["MarkedForEviction", "ProcessOOMKilled"]
            assert described(server, "default", NODE, NODE) == ["NodeOOMKilled"]
            assert (told.sink.sent, told.dropped) == (3, {})

    run_virtual(main())


def test_an_accepted_event_looks_like_the_recorded_one():
    """What is stored has the fields that the real server stored, and the same kinds of values."""
    step = recorded("09b", "create")

    async def main():
        async with scene() as (server, told):
            told.sink.emit(kill())
            await told.settle()
            [event] = server.events
            told_fields = {key: type(value) for key, value in event.items()}
            real = {key: type(value) for key, value in step.json.items() if key not in ("kind", "apiVersion")}
            assert {key: kind for key, kind in told_fields.items() if key in real} == real
            [request] = [each for each in server.requests if each.method == "POST"]
            assert set(request.json()) == set(json.loads(step.request_body))

    run_virtual(main())


def test_a_static_pod_shows_its_kills():
    """Describe looks for the value of the mirror annotation, not for the uid of the API's object."""

    async def main():
        async with scene() as (server, told):
            stored = server.add_pod(make_static_pod("etcd", config_hash=CONFIG_HASH, node=NODE))
            metadata = stored["metadata"]
            static = pod(
                uid=metadata["uid"],
                namespace=metadata["namespace"],
                name=metadata["name"],
                config_hash=CONFIG_HASH,
                is_mirror=True,
            )
            told.pods[CONFIG_HASH] = static
            told.sink.emit(kill(static))
            await told.settle()
            mirror = metadata["annotations"]["kubernetes.io/config.mirror"]
            shown = described(server, static.namespace, static.name, mirror)
            assert shown == ["ProcessOOMKilled"]

    run_virtual(main())


def test_a_series_counts_on_the_server():
    """The stored Event has the count and the time of the last kill, everything else is as it was."""

    async def main():
        async with scene() as (server, told):
            told.sink.emit(kill())
            await told.settle()
            [before] = server.events
            for number in range(1, 4):
                told.sink.emit(kill(None, number))
            await told.settle()
            [after] = server.events
            assert after["series"] == {"count": 4, "lastObservedTime": "2026-03-01T12:34:03.789012Z"}
            same = set(before) - {"metadata", "series"}
            assert {key: before[key] for key in same} == {key: after[key] for key in same}

    run_virtual(main())


def test_a_lost_answer_makes_no_second_event():
    """The POST took effect, its answer was cut off; the next attempt finds the Event there."""

    async def main():
        async with scene() as (server, told):
            server.fail(Truncated(10), method="POST", path="/events", times=1)
            told.sink.emit(kill())
            await told.settle()
            assert len(server.events) == 1
            assert [request.status for request in server.requests if request.method == "POST"] == [201, 409]
            assert (told.sink.sent, told.dropped) == (1, {})

    run_virtual(main())


@pytest.mark.parametrize("fault", [overloaded(), etcd_timeout(), 503])
def test_what_passes_is_waited_for(fault):
    """Overload and an outage behind the API server cost time, but no Event."""

    async def main():
        async with scene() as (server, told):
            server.fail(fault, path="/events", times=4)
            told.sink.emit(kill())
            await told.settle()
            assert len(server.events) == 1
            assert told.dropped == {}

    run_virtual(main())


def test_an_event_that_expired_is_there_again():
    """After its time to live the next kill brings it back, with all that it counted."""

    async def main():
        async with scene() as (server, told):
            told.sink.emit(kill())
            await told.settle()
            [event] = server.events
            server.delete_event("shop", event["metadata"]["name"])
            told.sink.emit(kill(None, 1))
            await told.settle()
            [again] = server.events
            assert again["series"]["count"] == 2
            assert again["metadata"]["name"] == event["metadata"]["name"]

    run_virtual(main())


def test_a_namespace_that_goes_takes_no_event():
    """Nothing new can be made in it: dropped and counted."""

    async def main():
        async with scene() as (server, told):
            server.terminate_namespace("shop")
            told.sink.emit(kill())
            await told.settle()
            assert (server.events, told.dropped) == ([], {"namespace_gone": 1})

    run_virtual(main())


def test_without_the_right_to_events_there_is_one_request(caplog):
    """An account that may only observe is told so once."""

    async def main():
        async with scene() as (server, told):
            server.grant(OBSERVE)
            for number in range(5):
                told.sink.emit(kill(None, number, container=f"c{number}"))
            await told.settle()
            assert len(server.requests) == 1
            assert told.dropped == {"forbidden": 5}

    run_virtual(main())
    assert sum("verbs: [create, patch]" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(("token_node", "reasons"), [(NODE, {}), ("another", {"denied": 1})])
def test_the_admission_policy_for_events_lets_our_own_pass(token_node, reasons):
    """Events carry the agent's name and its node, which is what the shipped policy asks for."""

    async def main():
        async with scene(node=token_node) as (server, told):
            server.enforce(event_policy())
            told.sink.emit(kill())
            await told.settle()
            if not reasons:
                told.sink.emit(kill(None, 1))
                await told.settle()
                assert server.events[0]["series"]["count"] == 2
            assert told.dropped == reasons

    run_virtual(main())


# Names as the API has them; the rest of a report may hold anything.
SUBDOMAINS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]{1,10}){0,2}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


def test_the_events_of_any_report_are_taken():
    """Whatever a pod calls its processes, and whatever is not known: the API server's validation passes it."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin():
            server = await stack.enter_async_context(FakeApiServer())
            return server, await stack.enter_async_context(wire(server))

        server, api = runner.run(begin())

        @given(strategies.reports(), SUBDOMAINS, LABELS, SUBDOMAINS, st.integers(1, 3))
        @examples(60)
        def take(report, name, namespace, node, processes):
            server.store.namespaces.add(namespace)
            server.store.events.clear()
            known = replace(
                report.workload, kind=WorkloadKind.POD, namespace=namespace, pod=name, pod_uid="u"
            )
            report = replace(report, workload=known, node=node)
            subject = pod_subject(known, None)
            for event in (
                incident_event(incident_of([report] * processes, subject, None), LEFT_ALONE, MARKING),
                incident_event(incident_of([report] * processes, node_subject(node), None), None, MARKING),
                mark_event(report, subject, MARKING, time=report.time),
            ):
                results = [
                    runner.run(create_event(api, event, Occurrences(processes, report.time))),
                    runner.run(update_event(api, event, Occurrences(7, report.time))),
                    runner.run(create_event(api, event, Occurrences(1, report.time))),
                ]
                outcomes = [result.outcome for result in results]
                assert outcomes == [EventOutcome.DONE, EventOutcome.DONE, EventOutcome.EXISTS], results
            assert len(server.events) == 3

        take()
        runner.run(stack.aclose())

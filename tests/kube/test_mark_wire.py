"""Marks and fence against the fake API server, over real connections, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from oomtracer.kube.fence import FenceState
from tests.policy import scenes

from .apiserver import (
    EVENTS,
    MARK,
    OBSERVE,
    FakeApiServer,
    Hang,
    Late,
    Refused,
    Truncated,
    etcd_timeout,
    make_pod,
    overloaded,
    pod_policy,
    shutting_down,
)
from .mark_scene import ANNOTATION, APPLIED, MARKING, Node, kill_of, until
from .virtual_time import now, run_virtual
from .wire_api import wire

OUTAGE_S = 600.0
REQUIRED = replace(MARKING, require_admission_policy=True)


@asynccontextmanager
async def scene(*, pods: int = 1, marking=MARKING):
    """Run a server with some pods and the agent's own; a node marks them."""
    async with FakeApiServer() as server, wire(server) as api:
        stored = [server.add_pod(make_pod(f"shop-{number}", namespace="shop")) for number in range(pods)]
        own = server.add_pod(make_pod("oomtracer-x", namespace="oomtracer", owner=("DaemonSet", "oomtracer")))
        known = [record_of(pod) for pod in stored]
        async with Node(api, marking=marking, pods=known) as node:
            node.directory.put(record_of(own))
            yield server, node


def record_of(stored):
    """Build the slim record of a stored pod."""
    metadata = stored["metadata"]
    return scenes.pod(uid=metadata["uid"], namespace=metadata["namespace"], name=metadata["name"])


def marked(server) -> list[str]:
    """Name the pods that carry the annotation, with its value."""
    return [
        pod["metadata"]["name"]
        for pod in server.pods
        if pod["metadata"].get("annotations", {}).get(ANNOTATION.key) == ANNOTATION.value
    ]


def changes(server, name: str) -> int:
    """Count how often a pod was really changed since it was made."""
    return sum(
        each.before is not None and each.before["metadata"]["name"] == name for each in server.store.history
    )


def patches(server) -> int:
    """Count the patches that came, dry runs left out."""
    return sum(request.method == "PATCH" and "dryRun" not in request.query for request in server.requests)


def test_the_right_pod_is_marked_under_our_own_field_manager():
    """One change of one pod, made by ``oomtracer``."""

    async def main():
        async with scene(pods=3) as (server, node):
            node.sink.emit(kill_of(node.pods[1]))
            await node.settle()
            assert marked(server) == ["shop-1"]
            assert changes(server, "shop-1") == 1
            managers = [
                entry["manager"] for entry in server.pod("shop", "shop-1")["metadata"]["managedFields"]
            ]
            assert "oomtracer" in managers

    run_virtual(main())


def test_a_successor_of_the_same_name_is_never_marked():
    """The pod was made anew before the watch told so: its uid is another one, and so it stays untouched."""

    async def main():
        async with scene() as (server, node):
            server.delete_pod("shop", "shop-0")
            server.add_pod(make_pod("shop-0", namespace="shop"))
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert marked(server) == []
            assert node.counted == {("skipped", "pod_replaced"): 1}
            server.delete_pod("shop", "shop-0")
            node.sink.emit(kill_of(node.pod, incident="two"))
            await node.settle()
            assert node.counted == {("skipped", "pod_replaced"): 1, ("skipped", "pod_gone"): 1}

    run_virtual(main())


def refuse(server):
    """Close the port, and what is open."""
    server.refuse()
    server.drop_connections()
    return server.reopen


def freeze(server):
    """Let connections hang."""
    server.freeze()
    return server.thaw


def failing(*actions):
    """Answer each patch with the next of these faults, in turn, until healed."""

    def begin(server):
        for skip, action in enumerate(actions):
            counter = iter(range(10_000))
            server.fail(
                action,
                method="PATCH",
                when=lambda _, counter=counter, skip=skip: next(counter) % len(actions) == skip,
            )

        async def heal():
            server.heal()

        return heal

    return begin


@pytest.mark.parametrize(
    "outage",
    [
        refuse,
        freeze,
        failing(500),
        failing(etcd_timeout(5.0)),
        failing(overloaded(2)),
        failing(shutting_down()),
        failing(Hang()),
        failing(Refused()),
        failing(401),
        failing(Late(3600.0)),
    ],
    ids=[
        "refused",
        "frozen",
        "500",
        "504",
        "429",
        "shutdown",
        "silent",
        "reset",
        "401",
        "late",
    ],
)
def test_an_api_server_away_for_ten_minutes_costs_no_mark(outage):
    """Whatever way it is away: the mark is there a minute or so after it is back, made once, with few requests."""

    async def main():
        async with scene() as (server, node):
            back = outage(server)
            node.sink.emit(kill_of(node.pod))
            await asyncio.sleep(OUTAGE_S)
            assert marked(server) == []
            assert node.sink.pending == 1
            assert patches(server) < 90
            await back()
            await node.settle()
            assert now() < 1_000 + OUTAGE_S + 75
            assert marked(server) == ["shop-0"]
            assert changes(server, "shop-0") == 1
            assert node.counted == {APPLIED: 1}

    run_virtual(main())


def test_a_patch_that_was_applied_but_not_answered_changes_the_pod_once():
    """Its repetition is a no-op for the API server, and one mark for us."""

    async def main():
        async with scene() as (server, node):
            server.fail(Truncated(20), method="PATCH", times=3)
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert marked(server) == ["shop-0"]
            assert changes(server, "shop-0") == 1
            assert patches(server) >= 4
            assert node.counted == {APPLIED: 1}
            assert len(node.told) == 1

    run_virtual(main())


def test_withdrawing_the_mark_role_stops_marking():
    """What is pending then ends forbidden, and what comes later too, until the role is back."""

    async def main():
        async with scene(pods=4) as (server, node):
            node.sink.emit(kill_of(node.pods[0]))
            await node.settle()
            fault = server.fail(overloaded(), method="PATCH")
            node.sink.emit(kill_of(node.pods[1]))
            await until(lambda: fault.hits, within_s=10)
            server.grant(OBSERVE, EVENTS)
            fault.remove()
            await node.settle()
            node.sink.emit(kill_of(node.pods[2]))
            await node.settle()
            assert node.counted == {APPLIED: 1, ("error", "forbidden"): 2}
            server.grant(OBSERVE, EVENTS, MARK)
            node.sink.emit(kill_of(node.pods[3]))
            await node.settle()
            assert marked(server) == ["shop-0", "shop-3"]

    run_virtual(main())


def test_an_admission_policy_for_other_keys_denies_the_mark():
    """It is final, and no pod is changed."""

    async def main():
        async with scene() as (server, node):
            server.enforce(pod_policy("example.com/another"))
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert node.counted == {("error", "denied"): 1}
            assert marked(server) == []

    run_virtual(main())


@pytest.mark.parametrize(
    ("prepare", "state"),
    [
        (lambda server: server.enforce(pod_policy(ANNOTATION.key)), FenceState.ENFORCED),
        (lambda _: None, FenceState.OPEN),
        (lambda server: server.enforce(pod_policy("example.com/another")), FenceState.BLOCKED),
        (lambda server: server.grant(OBSERVE), FenceState.NO_RIGHTS),
        (lambda server: server.fail(503, method="PATCH"), FenceState.UNKNOWN),
        (lambda server: server.delete_pod("oomtracer", "oomtracer-x"), FenceState.UNKNOWN),
    ],
)
def test_the_fence_is_told_for_what_it_is(prepare, state):
    """With the policy as shipped, without one, with one for other keys, without the right; and nothing is changed."""

    async def main():
        async with scene() as (server, node):
            prepare(server)
            version = server.store.version
            assert (await node.fence.prove()).state is state
            assert server.store.version == version

    run_virtual(main())


def test_with_the_policy_required_a_mark_waits_for_it():
    """Without a policy nothing is sent but dry runs; soon after it is applied, the mark is made."""

    async def main():
        async with scene(marking=REQUIRED) as (server, node):
            fence = asyncio.create_task(node.fence.run())
            node.sink.emit(kill_of(node.pod))
            await asyncio.sleep(300)
            assert node.fence.state is FenceState.OPEN
            assert patches(server) == 0
            server.enforce(pod_policy(ANNOTATION.key))
            await node.settle()
            assert marked(server) == ["shop-0"]
            assert node.counted == {APPLIED: 1}
            fence.cancel()

    run_virtual(main())

"""Marks and Events while the API server has every kind of trouble and agents are stopped and killed meanwhile."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import replace

import pytest

from oomtracer.config import Rate
from oomtracer.sinks.kube_events.gather import MAX_SETTLE_S
from oomtracer.sinks.kube_events.ledger import WAIT_S

from .apiserver import Answer, Hang, Late, Refused, Truncated, etcd_timeout, overloaded, shutting_down
from .apiserver.watch import End
from .mark_scene import APPLIED, MARKING
from .restart_scene import Node, machine
from .virtual_time import now, run_virtual

PODS = 6
GARBAGE = Answer(200, b"\xff\xfe<html>Please log in</html>")
ONE_MARK = replace(MARKING, budget=Rate(1, 600.0))


def writes(action):
    """Meet every write with this."""

    def begin(node: Node):
        faults = [node.server.fail(action, method=method) for method in ("PATCH", "POST")]

        async def end():
            for fault in faults:
                fault.remove()

        return end

    return begin


def everything(action):
    """Meet every request with this."""

    def begin(node: Node):
        fault = node.server.fail(action)

        async def end():
            fault.remove()

        return end

    return begin


def refuse(node: Node):
    """Close the port, and what is open."""
    node.server.refuse()
    node.server.drop_connections()
    return node.server.reopen


def freeze(node: Node):
    """Let connections hang."""
    node.server.freeze()
    return node.server.thaw


def restart(node: Node):
    """Let the API server be another one, which knows no watch."""
    node.server.restart(End.RESET)

    async def end():
        node.server.expire()

    return end


TROUBLES = {
    "refused": refuse,
    "frozen": freeze,
    "restarted": restart,
    "429": writes(overloaded(2)),
    "500": writes(500),
    "504": everything(etcd_timeout(1.0)),
    "shutdown": everything(shutting_down()),
    "410": everything(410),
    "401": everything(401),
    "garbage": writes(GARBAGE),
    "silent": writes(Hang()),
    "reset": everything(Refused()),
    "unanswered": writes(Truncated(20)),
    "late": writes(Late(7.0)),
}


def check(node: Node, *, marked: set[str] | None = None) -> None:
    """Every kill is counted once by the Events, every pod is marked once, and nothing was dropped or is owed."""
    everybody = {name for name, kills in node.in_pod.items() if kills}
    assert node.counted("ProcessOOMKilled") == node.in_pod
    assert node.counted("NodeOOMKilled").total() == node.on_node
    assert Counter(name for _, name in node.marks) == Counter(everybody if marked is None else marked)
    assert node.counted("MarkedForEviction") == Counter(everybody if marked is None else marked)
    assert not +node.dropped
    assert node.owed() == 0


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_what_is_owed_outlives_the_agent_and_the_outage(name, is_killed):
    """Kills before, in and after an outage in which the agent is replaced twice: each is told and marked once."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            node.kill(0)
            end = TROUBLES[name](node)
            node.kill(1, processes=2)
            for number in (2, 3):
                await asyncio.sleep(20.0)
                await (node.crash() if is_killed else node.stop())
                node.kill(number)
                await node.start()
                node.kill(number)
            await asyncio.sleep(20.0)
            await end()
            node.kill(4)
            await node.settle()
            await node.stop()
            check(node)

    run_virtual(main())


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_or_doubled_whatever_comes_together(seed):
    """Kills, troubles, ends and beginnings at random moments: at last each kill is told once, each pod marked once."""
    dice = random.Random(seed)

    async def live(node: Node) -> None:
        while now() < 1_300.0:
            await asyncio.sleep(dice.choice([0.05, 0.3, 0.55, 1.0, 5.0, 40.0]) * dice.random() * 2)
            await (node.crash() if dice.random() < 0.7 else node.stop())
            await asyncio.sleep(dice.choice([0.0, 1.0, 15.0]))
            await node.start()

    async def kill(node: Node) -> None:
        for _ in range(40):
            await asyncio.sleep(dice.expovariate(1 / 7.0))
            node.kill(dice.randrange(PODS), processes=dice.choice([1, 1, 3]))

    async def trouble(node: Node) -> None:
        while now() < 1_300.0:
            await asyncio.sleep(dice.uniform(0.0, 20.0))
            end = TROUBLES[dice.choice(list(TROUBLES))](node)
            await asyncio.sleep(dice.uniform(0.1, 40.0))
            await end()

    async def main():
        async with machine(marking=MARKING, pods=PODS, seed=seed) as node:
            await node.start()
            await asyncio.gather(live(node), kill(node), trouble(node))
            await node.settle()
            await node.stop()
            check(node)

    run_virtual(main())

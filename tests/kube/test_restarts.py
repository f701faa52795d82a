"""Marks and Events while the API server has every kind of trouble and agents are stopped and killed meanwhile."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import replace

import pytest

from oomtracer.app.outboxes import PATIENCE_S, Outboxes
from oomtracer.config import Rate
from oomtracer.sinks.kube_events.gather import MAX_SETTLE_S, SETTLE_S
from oomtracer.sinks.kube_events.ledger import WAIT_S

from .apiserver import Answer, Hang, Late, Refused, Truncated, etcd_timeout, overloaded, shutting_down
from .apiserver.watch import End
from .mark_scene import APPLIED, MARKING
from .mark_scene import Node as MarkNode
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


@pytest.mark.parametrize("seed", range(8))
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


def test_a_restart_loop_never_exceeds_the_budget():
    """Agents that die every few seconds, before or after their mark is sent: of all pods one is marked, then one more."""

    async def main():
        async with machine(marking=ONE_MARK, pods=PODS, seed=3) as node:
            for round_ in range(30):
                await node.start()
                node.kill(round_ % 5)
                await asyncio.sleep(node.dice.uniform(0.0, 0.4))
                await (node.crash() if node.dice.random() < 0.8 else node.stop())
            await node.start()
            await asyncio.sleep(30.0)
            assert len(node.marks) == 1
            await asyncio.sleep(600.0)
            node.kill(5)
            await node.settle()
            await node.stop()
            check(node, marked={node.marks[0][1], "shop-5"})

    run_virtual(main())


def test_a_mark_whose_answer_no_agent_saw_is_ours():
    """The pod carries it: it counts as made, has its Event, and has spent the budget."""

    async def main():
        async with machine(marking=ONE_MARK, pods=PODS) as node:
            fault = node.server.fail(Truncated(20), method="PATCH", path="/pods/")
            await node.start()
            await asyncio.sleep(1.0)
            node.kill(0)
            await node.server.until(lambda: node.marks)
            await node.crash()
            fault.remove()
            node.kill(1)
            await node.start()
            await node.settle()
            assert +node.agent.marks.counts.marked == {APPLIED: 1, ("skipped", "budget_spent"): 1}
            await node.stop()
            check(node, marked={"shop-0"})

    run_virtual(main())


def test_a_mark_that_was_not_made_is_made_by_the_next_agent():
    """Sent without effect and not answered: the next agent sends it again, without deciding anew."""

    async def main():
        async with machine(marking=ONE_MARK, pods=PODS) as node:
            fault = node.server.fail(Hang(), method="PATCH", path="/pods/")
            await node.start()
            await asyncio.sleep(1.0)
            node.kill(0)
            await node.server.until(lambda: fault.hits)
            await node.crash()
            fault.remove()
            node.kill(1)
            await node.start()
            await node.settle()
            await node.stop()
            check(node, marked={"shop-0"})

    run_virtual(main())


def test_what_is_kept_at_the_end_is_no_error(caplog):
    """Marks and Events that an outage holds back are pending for the next start, and the log says how many."""
    caplog.set_level(logging.INFO)

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            node.server.fail(503, method="PATCH")
            node.server.fail(503, method="POST")
            for number in range(3):
                node.kill(number)
            await asyncio.sleep(10.0)
            await node.stop()
            assert not +node.dropped
            assert node.marked["error", "not_delivered"] == 0
            assert node.owed() == 3
            node.server.heal()
            await node.start()
            await node.settle()
            await node.stop()
            check(node)

    run_virtual(main())
    told = [record.getMessage() for record in caplog.records]
    assert "stopping: 3 pending marks are kept for the next start" in told
    assert "stopping: 4 pending Events are kept for the next start" in told


def test_an_incident_that_was_told_is_not_told_by_the_next_agent():
    """Processes of a run of the OOM killer that are stored after a restart are late, and counted so."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            node.kill(0, processes=5)
            rest = [node.ring.pop() for _ in range(2)]
            await node.settle()
            await node.crash()
            node.ring += rest
            await node.start()
            await node.settle()
            await node.stop()
            assert node.counted("ProcessOOMKilled") == {"shop-0": 1}
            assert node.counted("NodeOOMKilled") == {"node-1": 1}
            # Each of both processes, for the pod and for the node.
            assert +node.dropped == {"late": 4}
            assert node.owed() == 0

    run_virtual(main())


def test_a_crash_before_an_incident_is_complete_tells_all_of_it():
    """What an agent had gathered is gathered again."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            node.kill(0, processes=3)
            await asyncio.sleep(0.3)
            await node.crash()
            await node.start()
            await asyncio.sleep(MAX_SETTLE_S)
            await node.settle()
            await node.stop()
            check(node)
            [event] = [each for each in node.server.events if each["reason"] == "ProcessOOMKilled"]
            assert " and 2 more processes were killed" in event["note"]

    run_virtual(main())


def test_a_kill_that_two_events_tell_of_is_owed_to_the_later_one():
    """Of a pod's process the pod's Event may be told, and the node's not yet, when the agent is killed."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            node.kill(0)
            await asyncio.sleep(0.8 * SETTLE_S)
            node.kill_also(1)
            await asyncio.sleep(0.6 * SETTLE_S)
            await node.crash()
            assert node.count("told WHERE what = 'kills'") == 1
            await node.start()
            await asyncio.sleep(MAX_SETTLE_S)
            await node.settle()
            await node.stop()
            check(node, marked={"shop-0"})
            [event] = [each for each in node.server.events if each["reason"] == "NodeOOMKilled"]
            assert " and 1 more process were killed" in event["note"]

    run_virtual(main())


def test_an_outage_of_most_of_an_hour_costs_no_event():
    """Whether the agent lives through it or not; marks are too old by then."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            back = refuse(node)
            for number in range(3):
                node.kill(number)
            await asyncio.sleep(1_000.0)
            await node.stop()
            node.kill(3)
            await node.start()
            await asyncio.sleep(1_000.0)
            await node.crash()
            await node.start()
            await asyncio.sleep(WAIT_S - 2_000.0 - 60.0)
            await back()
            await node.settle()
            await node.stop()
            check(node, marked=set())

    run_virtual(main())


def test_what_nobody_could_be_told_for_an_hour_is_given_up_and_counted():
    """Nothing is owed for ever, whether an agent waited with it or none was there."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            back = refuse(node)
            node.kill(0)
            await asyncio.sleep(30.0)
            await node.stop()
            node.kill(1)
            await asyncio.sleep(WAIT_S)
            await node.start()
            await back()
            await node.settle()
            await node.stop()
            assert node.server.events == []
            assert +node.dropped == {"expired": 4}
            assert node.owed() == 0
            await node.start()
            await asyncio.sleep(2.0)
            node.kill(2)
            node.server.refuse()
            node.server.drop_connections()
            await node.settle(within_s=2 * WAIT_S)
            await node.stop()
            assert +node.dropped == {"expired": 4, "unreachable": 2}
            assert node.owed() == 0

    run_virtual(main())


def test_after_a_restart_of_the_node_kills_are_told_and_mark_nothing():
    """Whatever held memory then is gone; that it was killed is still worth a word."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            back = refuse(node)
            node.kill(0)
            await asyncio.sleep(5.0)
            await node.crash()
            await back()
            node.boot_id = "another"
            await node.start()
            await node.settle()
            await node.stop()
            assert +node.marked == {("skipped", "node_restarted"): 1}
            check(node, marked=set())

    run_virtual(main())


def test_events_of_one_pod_are_created_in_the_order_of_its_kills():
    """Over agents that come and go while the API server takes one write in three."""

    async def main():
        async with machine(marking=MARKING, pods=PODS, seed=1) as node:
            dice = random.Random(1)
            node.server.fail(503, method="POST", when=lambda _: dice.random() < 0.7)
            await node.start()
            for number in range(10):
                node.kill(0)
                await asyncio.sleep(400.0 if number % 2 else 1.0)
                await (node.crash() if number % 3 else node.stop())
                await node.start()
            await node.settle()
            await node.stop()
            created = [each for each in node.server.events if each["reason"] == "ProcessOOMKilled"]
            times = [each["eventTime"] for each in created]
            assert len(times) > 4
            assert times == sorted(times)
            check(node)

    run_virtual(main())


def test_a_journal_that_does_not_answer_holds_no_mark_up():
    """A mark waits a second for its row, then it is made without."""

    async def main():
        async with machine(marking=MARKING, pods=PODS) as node:
            await node.start()
            await asyncio.sleep(2.0)
            node.kill(0)
            await asyncio.sleep(0.1)
            node.agent.hang_journal()
            killed_s = now()
            await node.server.until(lambda: node.marks, timeout_s=5.0)
            assert now() - killed_s < 2.0

    run_virtual(main())


def test_a_journal_that_does_not_answer_holds_no_start_up(caplog):
    """What was made before is not known then, and that is said."""

    class Hung:
        fault = ""

        def submit(self, *_, **__):
            return asyncio.get_running_loop().create_future()

    async def main():
        started_s = now()
        await Outboxes(Hung(), boot_id="boot").restore(MarkNode().sink, None, budget=1)
        assert now() - started_s == pytest.approx(PATIENCE_S, abs=0.1)

    run_virtual(main())
    assert "the journal does not say which marks were made before" in caplog.text

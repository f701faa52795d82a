from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from oomtracer.kube.fence import FenceState
from oomtracer.kube.limiter import WriteLimiter

from .mark_scene import ANNOTATION, APPLIED, MARKING, Node, kill_of, until
from .scripted_api import (
    DENIED,
    DOWN,
    NEVER_SENT,
    NO_RIGHT,
    NOT_FOUND,
    OK,
    OTHER_UID,
    OVERLOAD,
    UNREACHABLE,
    ScriptedApi,
    status,
)
from .virtual_time import now, run_virtual

MINUTE_S = 60.0
INVALID = status(422, "Invalid", "metadata.annotations: Too long")
CONFLICT = status(409, "Conflict", "please apply your changes to the latest version and try again")
EXPIRED_TOKEN = status(401, "Unauthorized", "Unauthorized")


def sequence(*answers):
    """Answer each request by the next of these, and the last one for ever."""
    rest = list(answers)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def warnings(caplog) -> list[str]:
    """Collect warnings and errors of the mark's logger."""
    return [
        r.getMessage() for r in caplog.records if r.name == "oomtracer.mark" and r.levelno >= logging.WARNING
    ]


@pytest.mark.parametrize(
    "trouble", [UNREACHABLE, DOWN, OVERLOAD, CONFLICT, EXPIRED_TOKEN, status(500), status(503)], ids=repr
)
def test_an_outage_of_ten_minutes_is_survived(trouble, caplog):
    """The mark is made soon after the API server is back, once, with few tries in between, and said once."""
    end_s = 1_000 + 10 * MINUTE_S

    async def main():
        async with Node(ScriptedApi(lambda request: OK if request.at_s > end_s else trouble)) as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert node.counted == {APPLIED: 1}
            assert now() < end_s + 65
            assert 10 < len(node.api.requests) < 40
            assert sum(request.at_s < 1_060 for request in node.api.requests) < 20
            assert node.api.most == 1

    run_virtual(main())
    assert len(warnings(caplog)) == 1


def test_each_outage_is_said_once(caplog):
    """However many marks are retried in it; the next outage is said again."""

    async def main():
        async with Node(pods=10) as node:
            for number, pod in enumerate(node.pods):
                if number % 5 == 0:
                    await node.settle()
                    start_s = now()
                    node.api.script = lambda request, start_s=start_s: (
                        OK if request.at_s > start_s + 60 else DOWN
                    )
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert node.counted == {APPLIED: 10}

    run_virtual(main())
    assert len(warnings(caplog)) == 2


def test_a_mark_expires_with_its_kill(caplog):
    """After the greatest age there is no further try, and the failure is counted and told with its reason."""

    async def main():
        async with Node(ScriptedApi(lambda _: DOWN)) as node:
            node.sink.emit(kill_of(node.pod, ago_s=MINUTE_S))
            await node.settle()
            assert now() == pytest.approx(1_000 + 14 * MINUTE_S, abs=1)
            assert max(request.at_s for request in node.api.requests) < 1_000 + 14 * MINUTE_S
            assert node.counted == {("error", "expired"): 1}
            assert node.sink.counts.failed == 1

    run_virtual(main())
    assert warnings(caplog)[-1].startswith("pod shop/shop-0 was not marked: expired (HTTP 504")


def test_retry_after_is_honoured():
    """After a 429 nothing is sent before the server's time is over."""

    async def main():
        overload = status(429, "TooManyRequests", "storage is (re)initializing", retry_after_s=30)
        async with Node(ScriptedApi(sequence(overload, OK))) as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            first, second = (request.at_s for request in node.api.requests)
            assert 30 <= second - first < 35

    run_virtual(main())


@pytest.mark.parametrize(
    ("answer", "counted", "failed"),
    [
        (NOT_FOUND, ("skipped", "pod_gone"), 0),
        (OTHER_UID, ("skipped", "pod_replaced"), 0),
        (INVALID, ("error", "invalid"), 1),
        (NO_RIGHT, ("error", "forbidden"), 1),
        (DENIED, ("error", "denied"), 1),
    ],
)
def test_final_answers_end_a_mark_and_give_the_budget_back(answer, counted, failed):
    """One request; then policy may decide on this pod, this owner and this incident again."""

    async def main():
        async with Node(
            ScriptedApi(sequence(answer, OK)), marking=replace(MARKING, cooldown_s=1800.0)
        ) as node:
            node.sink.emit(kill_of(node.pod, incident="one"))
            await node.settle()
            assert len(node.api.requests) == 1
            assert node.counted == {counted: 1}
            assert node.sink.counts.failed == failed
            assert node.told == []
            node.sink.emit(kill_of(node.pod, incident="two"))
            await node.settle()
            assert node.counted == {counted: 1, APPLIED: 1}

    run_virtual(main())


@pytest.mark.parametrize(
    ("answer", "text"), [(NO_RIGHT, 'the verb "patch" on pods'), (DENIED, "only the configured")]
)
def test_a_refusal_is_said_once_until_a_mark_is_made(answer, text, caplog):
    """Refused marks are counted one by one; the log has one line, and another one only after a success."""

    async def main():
        async with Node(ScriptedApi(sequence(answer, answer, answer, OK, answer)), pods=5) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
                await node.settle()
            assert node.counted[APPLIED] == 1
            assert node.sink.counts.failed == 4

    run_virtual(main())
    assert len(warnings(caplog)) == 2
    assert all(text in line for line in warnings(caplog))


def test_rights_taken_away_in_the_middle_end_the_retries():
    """The kill switch: once the role is withdrawn, what is pending ends at its next try."""

    async def main():
        async with Node(ScriptedApi(sequence(DOWN, DOWN, NO_RIGHT))) as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert len(node.api.requests) == 3
            assert node.counted == {("error", "forbidden"): 1}

    run_virtual(main())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_terminating": True}, "terminating"),
        ({"phase": "Failed"}, "finished"),
        ({"annotations": {ANNOTATION.key: "somebody else's"}}, "annotation_exists"),
        ({"annotations": {ANNOTATION.key: ANNOTATION.value}}, "annotation_exists"),
        ({"annotations": {"oomtracer/ignore": ""}}, "opted_out"),
    ],
)
def test_the_pod_is_looked_at_again_before_each_try(change, reason):
    """What has changed on the pod while the API server was away ends the mark without another request."""

    async def main():
        async with Node(ScriptedApi(sequence(OVERLOAD, OK))) as node:
            node.sink.emit(kill_of(node.pod))
            await until(lambda: len(node.api.requests) == 1, within_s=1)
            node.see(node.pod, **change)
            await node.settle()
            assert len(node.api.requests) == 1
            assert node.counted == {("skipped", reason): 1}

    run_virtual(main())


def test_a_pod_that_is_deleted_needs_no_mark():
    """A pod the watch has seen go is not asked for, though it is remembered."""

    async def main():
        async with Node(ScriptedApi(lambda _: DOWN)) as node:
            node.sink.emit(kill_of(node.pod))
            await until(lambda: len(node.api.requests) == 1, within_s=1)
            node.directory.remove("uid-0")
            await node.settle()
            assert len(node.api.requests) == 1
            assert node.counted == {("skipped", "pod_gone"): 1}

    run_virtual(main())


def test_a_patch_whose_answer_was_lost_counts_when_the_watch_shows_it():
    """Applied and then timed out: no second patch, and the mark is told like any other."""

    async def main():
        async with Node(ScriptedApi(lambda _: UNREACHABLE)) as node:
            node.sink.emit(kill_of(node.pod))
            await until(lambda: len(node.api.requests) == 1, within_s=1)
            node.see(node.pod, annotations={ANNOTATION.key: ANNOTATION.value})
            await node.settle()
            assert len(node.api.requests) == 1
            assert node.counted == {APPLIED: 1}
            assert len(node.told) == 1

    run_virtual(main())


def test_a_patch_whose_answer_was_lost_is_sent_again_until_it_is_known():
    """Repeating it is harmless, and it counts once."""

    async def main():
        async with Node(ScriptedApi(sequence(UNREACHABLE, OK))) as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert len(node.api.requests) == 2
            assert node.api.requests[0].document == node.api.requests[1].document
            assert node.counted == {APPLIED: 1}

    run_virtual(main())


def test_a_mark_that_may_have_been_made_is_not_given_back():
    """When its answers were lost to the end, policy goes on counting it; not when all said no."""

    async def main():
        marking = replace(MARKING, cooldown_s=7200.0, max_age_s=60.0)
        in_doubt = ("skipped", "pod_decided")
        for trouble, then in ((UNREACHABLE, in_doubt), (OVERLOAD, APPLIED), (NEVER_SENT, APPLIED)):
            node = Node(ScriptedApi(lambda _, trouble=trouble: trouble), marking=marking)
            async with node:
                node.sink.emit(kill_of(node.pod, incident="one"))
                await node.settle()
                assert node.counted == {("error", "expired"): 1}
                node.api.script = lambda _: OK
                node.sink.emit(kill_of(node.pod, incident="two"))
                await node.settle()
                assert node.counted == {("error", "expired"): 1, then: 1}

    run_virtual(main())


def test_with_the_admission_policy_required_marks_wait_for_its_proof():
    """Nothing is sent before the fence is proved, and everything right after."""

    async def main():
        async with Node(marking=replace(MARKING, require_admission_policy=True), pods=3) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await asyncio.sleep(5 * MINUTE_S)
            assert node.api.requests == []
            assert node.sink.pending == 3
            node.prove_fence()
            await asyncio.sleep(1)
            assert node.counted == {APPLIED: 3}

    run_virtual(main())


def test_a_mark_whose_fence_is_never_proved_expires(caplog):
    """The reason names the missing policy, and the budget is given back."""

    async def main():
        async with Node(marking=replace(MARKING, require_admission_policy=True)) as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert node.api.requests == []
            assert node.counted == {("error", "admission_policy_missing"): 1}
            node.prove_fence()
            node.sink.emit(kill_of(node.pod, incident="two"))
            await node.settle()
            assert node.counted[APPLIED] == 1

    run_virtual(main())
    assert warnings(caplog) == ["pod shop/shop-0 was not marked: admission_policy_missing"]


def test_a_fence_that_falls_while_marks_are_retried_holds_them():
    """A policy withdrawn in the meantime stops further tries until it is back."""

    async def main():
        async with Node(
            ScriptedApi(lambda _: OVERLOAD), marking=replace(MARKING, require_admission_policy=True)
        ) as node:
            node.prove_fence()
            node.sink.emit(kill_of(node.pod))
            await until(lambda: len(node.api.requests) == 2, within_s=30)
            node.fence.state = FenceState.OPEN
            node.fence.enforced.clear()
            node.api.script = lambda _: OK
            await asyncio.sleep(5 * MINUTE_S)
            assert len(node.api.requests) == 2
            node.prove_fence()
            await node.settle()
            assert node.counted == {APPLIED: 1}

    run_virtual(main())


def test_a_fence_that_falls_while_marks_wait_for_their_turn_holds_them():
    """What the write limit has kept back is not sent without the policy, and not lost."""

    async def main():
        limiter = WriteLimiter(qps=0.1, burst=1, clock=now)
        marking = replace(MARKING, require_admission_policy=True)
        async with Node(marking=marking, limiter=limiter, pods=2) as node:
            node.prove_fence()
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await asyncio.sleep(5)
            node.fence.state = FenceState.OPEN
            node.fence.enforced.clear()
            await asyncio.sleep(MINUTE_S)
            assert (len(node.api.requests), node.sink.pending) == (1, 1)
            node.prove_fence()
            await node.settle()
            assert node.counted == {APPLIED: 2}

    run_virtual(main())


def test_without_that_flag_the_fence_does_not_matter():
    """An unproved fence is a metric, not a lock."""

    async def main():
        async with Node() as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert node.fence.state is FenceState.UNKNOWN
            assert node.counted == {APPLIED: 1}

    run_virtual(main())


def test_at_the_end_pending_marks_have_one_more_try():
    """A mark in the middle of a long wait is tried once more, at once."""

    async def main():
        node = Node(ScriptedApi(lambda _: status(429, retry_after_s=300)))
        async with node:
            node.sink.emit(kill_of(node.pod))
            await until(lambda: len(node.api.requests) == 1, within_s=1)
            node.api.script = lambda _: OK
            stopped_s = now()
            await node.stop()
            assert now() - stopped_s < 1
        assert node.counted == {APPLIED: 1}

    run_virtual(main())


@pytest.mark.parametrize(("answer", "delay_s"), [(DOWN, 0.01), (OK, 3600.0)])
def test_the_end_waits_two_seconds_at_most_and_says_what_was_left(answer, delay_s, caplog):
    """Neither an API server that refuses nor one that hangs holds up the end."""

    async def main():
        node = Node(ScriptedApi(lambda _: answer, delay_s=delay_s), pods=3)
        async with node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await asyncio.sleep(0.5)
            stopped_s = now()
            await node.stop()
            assert now() - stopped_s <= 2.01
            assert sum(request.at_s >= stopped_s for request in node.api.requests) <= 3
        assert node.counted == {("error", "not_delivered"): 3}
        assert node.sink.pending == 0
        assert node.told == []

    run_virtual(main())
    assert warnings(caplog)[-1] == "stopping: 3 pending marks were not delivered"


def test_marks_held_by_the_fence_do_not_delay_the_end():
    """They are not sent, and not waited for."""

    async def main():
        node = Node(marking=replace(MARKING, require_admission_policy=True))
        async with node:
            node.sink.emit(kill_of(node.pod))
            await asyncio.sleep(1)
            stopped_s = now()
            await node.stop()
            assert now() - stopped_s < 0.1
        assert node.api.requests == []
        assert node.counted == {("error", "not_delivered"): 1}

    run_virtual(main())


def test_nothing_pending_ends_at_once():
    """Without marks the sink's end takes no time, in a dry run neither."""

    async def main():
        for marking in (MARKING, replace(MARKING, annotation=None)):
            node = Node(marking=marking)
            async with node:
                await node.stop()
            assert now() == pytest.approx(1_000, abs=0.1)

    run_virtual(main())

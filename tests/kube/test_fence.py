from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from oomtracer.kube.fence import PROBE_ANNOTATION, WHILE_ENFORCED_S, WHILE_NOT_S, FenceState
from tests.policy import scenes

from .mark_scene import ANNOTATION, LABEL, MARKING, Node, until
from .scripted_api import DENIED, DOWN, NO_RIGHT, NOT_FOUND, OK, OVERLOAD, UNREACHABLE, ScriptedApi, status
from .virtual_time import now, run_virtual

OWN = scenes.pod(uid="own-uid", namespace="oomtracer", name="oomtracer-x")
INVALID = status(422, "Invalid", "metadata.annotations: Too long")


def answers(foreign, configured=OK) -> Callable:
    """Answer the probe with a foreign annotation, and the one with the configured marks."""
    return lambda request: foreign if is_foreign(request) else configured


def is_foreign(request) -> bool:
    """Whether a request tries the foreign annotation."""
    return PROBE_ANNOTATION in request.document["metadata"].get("annotations", {})


def fenced(script, **changes) -> Node:
    """Build a node on which the agent's own pod runs."""
    node = Node(ScriptedApi(script), **changes)
    node.directory.put(OWN)
    return node


def said(caplog) -> list[str]:
    """Collect the fence's lines."""
    return [record.getMessage() for record in caplog.records if record.name == "oomtracer.fence"]


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level(logging.INFO, logger="oomtracer.fence")


async def for_a_while(node: Node, seconds: float) -> None:
    """Run the fence for some virtual time."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await node.fence.run()


@pytest.mark.parametrize(
    ("foreign", "configured", "state", "text"),
    [
        (DENIED, OK, FenceState.ENFORCED, "an admission policy limits this agent"),
        (OK, OK, FenceState.OPEN, "no admission policy limits"),
        (DENIED, DENIED, FenceState.BLOCKED, "refuses the configured marks"),
        (NO_RIGHT, NO_RIGHT, FenceState.NO_RIGHTS, "may not patch pods"),
        (DENIED, NO_RIGHT, FenceState.NO_RIGHTS, "may not patch pods"),
        (UNREACHABLE, OK, FenceState.UNKNOWN, "cannot be tried out: connection refused"),
        (DENIED, DOWN, FenceState.UNKNOWN, "cannot be tried out: HTTP 504"),
        (OVERLOAD, OK, FenceState.UNKNOWN, "cannot be tried out: HTTP 429"),
        (NOT_FOUND, OK, FenceState.UNKNOWN, "cannot be tried out: HTTP 404"),
        (INVALID, OK, FenceState.UNKNOWN, "cannot be tried out: HTTP 422"),
    ],
)
def test_what_two_dry_runs_prove(foreign, configured, state, text, caplog):
    """Enforced means: the foreign key refused by admission, not by RBAC, and the configured one accepted."""

    async def main():
        node = fenced(answers(foreign, configured))
        await for_a_while(node, 1.5)
        assert node.fence.state is state
        assert node.fence.is_enforced == node.fence.enforced.is_set() == (state is FenceState.ENFORCED)

    run_virtual(main())
    assert text in said(caplog)[0]


def test_the_probes_change_nothing_and_aim_at_the_own_pod():
    """Both are dry runs on the agent's own pod by uid; the second one carries the very marks that are configured."""

    async def main():
        node = fenced(answers(DENIED), marking=replace(MARKING, label=LABEL))
        await node.fence.prove()
        foreign, configured = node.api.requests
        for request in (foreign, configured):
            assert request.path == "/api/v1/namespaces/oomtracer/pods/oomtracer-x"
            assert request.query["dryRun"] == "All"
            assert request.document["metadata"].pop("uid") == "own-uid"
        assert foreign.document == {"metadata": {"annotations": {PROBE_ANNOTATION: "true"}}}
        marks = {"annotations": {ANNOTATION.key: "yes"}, "labels": {LABEL.key: "true"}}
        assert configured.document == {"metadata": marks}

    run_virtual(main())


@pytest.mark.parametrize(
    ("foreign", "usual_s"), [(DENIED, WHILE_ENFORCED_S), (OK, WHILE_NOT_S), (NO_RIGHT, WHILE_NOT_S)]
)
def test_it_is_proved_again_and_again(foreign, usual_s, caplog):
    """Every hour while enforced, every ten minutes while not, give or take a fifth; the same state is said once."""

    async def main():
        node = fenced(answers(foreign))
        await for_a_while(node, 20 * usual_s)
        times = [request.at_s for request in node.api.requests if is_foreign(request)]
        gaps = [after - before for before, after in pairwise(times)]
        assert len(gaps) >= 15
        assert all(0.8 * usual_s <= gap <= 1.21 * usual_s for gap in gaps)
        assert len({round(gap) for gap in gaps}) > 5

    run_virtual(main())
    assert len(said(caplog)) == 1


def test_a_policy_that_is_withdrawn_or_added_shows(caplog):
    """Each change of the state is told once, and marks that wait for the proof are let go by it."""

    async def main():
        node = fenced(answers(OK))
        task = asyncio.create_task(node.fence.run())
        await until(lambda: node.fence.state is FenceState.OPEN, within_s=1)
        node.api.script = answers(DENIED)
        await asyncio.wait_for(node.fence.enforced.wait(), 1.2 * WHILE_NOT_S + 1)
        node.api.script = answers(OK)
        await until(lambda: not node.fence.is_enforced, within_s=1.2 * WHILE_ENFORCED_S + 1)
        assert not node.fence.enforced.is_set()
        task.cancel()

    run_virtual(main())
    assert len(said(caplog)) == 3


def test_an_api_server_that_is_away_leaves_the_state_as_it_was_proved(caplog):
    """Silence proves nothing new; it is said once and asked again with growing pauses, then at the usual times."""

    async def main():
        node = fenced(answers(DENIED))
        task = asyncio.create_task(node.fence.run())
        await until(lambda: node.fence.is_enforced, within_s=1)
        node.api.script = answers(UNREACHABLE)
        await asyncio.sleep(1.2 * WHILE_ENFORCED_S)
        node.api.requests.clear()
        away_s = now()
        await asyncio.sleep(600)
        assert node.fence.is_enforced
        assert 8 < len(node.api.requests) < 40
        node.api.script = answers(DENIED)
        await asyncio.sleep(120)
        node.api.requests.clear()
        await asyncio.sleep(WHILE_ENFORCED_S / 2)
        assert node.api.requests == []
        assert now() > away_s
        node.api.script = answers(UNREACHABLE)
        await until(lambda: node.api.requests, within_s=WHILE_ENFORCED_S)
        await asyncio.sleep(20)
        assert len(node.api.requests) >= 4  # quick again at first
        task.cancel()

    run_virtual(main())
    assert len(said(caplog)) == 3


@pytest.mark.parametrize(
    ("own", "text"),
    [(None, "--pod-name"), (("oomtracer", "elsewhere\n"), "elsewhere\\x0a is not on this node")],
)
def test_without_its_own_pod_nothing_is_proved_and_nothing_sent(own, text, caplog):
    """On a plain host the fence is unknown, which is said once."""

    async def main():
        node = fenced(answers(DENIED), marking=replace(MARKING, require_admission_policy=True))
        node.fence._own_pod = own
        await for_a_while(node, 3600)
        assert node.api.requests == []
        assert node.fence.state is FenceState.UNKNOWN

    run_virtual(main())
    [line] = said(caplog)
    assert text in line
    assert "marks wait until it is proved" in line


def test_before_the_first_list_it_waits_in_silence(caplog):
    """The own pod is looked for once the pods of the node are known, and then at once."""

    async def main():
        node = fenced(answers(DENIED))
        pods = list(node.directory.pods())
        node.directory.__init__()
        task = asyncio.create_task(node.fence.run())
        await asyncio.sleep(60)
        assert said(caplog) == []
        node.directory.replace(pods)
        await asyncio.sleep(1.1)
        assert node.fence.is_enforced
        task.cancel()

    run_virtual(main())


def test_probes_keep_to_the_write_limit():
    """They are writes like others: each takes its turn."""

    async def main():
        node = fenced(answers(DENIED))
        turns = []
        acquire = node.limiter.acquire

        async def counted():
            turns.append(now())
            await acquire()

        node.limiter.acquire = counted
        await node.fence.prove()
        assert len(turns) == 2

    run_virtual(main())

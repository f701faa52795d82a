from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oomtracer.kube.api import ApiUnreachableError, Response
from oomtracer.kube.patch import PatchOutcome, patch_pod, result_of
from tests.unit.builders import examples, unfit

from .recordings import names, recorded, steps
from .scripted_api import OK, ScriptedApi, status
from .virtual_time import run_virtual

MERGE = "application/merge-patch+json"
LONGEST = 400


def answer(step) -> Response:
    """Take a recorded answer as the transport would hand it over."""
    return Response(step.status, step.headers, step.body.encode())


def patch(api, **changes):
    """Send one patch of an annotation and a label."""
    arguments = {
        "namespace": "shop",
        "name": "shop-0",
        "uid": "uid-0",
        "annotations": {"a/b": "yes"},
        "labels": {"c": "d"},
    }
    return run_virtual(patch_pod(api, **{**arguments, **changes}))


@pytest.mark.parametrize(
    ("case", "label", "outcome"),
    [
        ("05a", "merge patch sets v1", PatchOutcome.APPLIED),
        ("05a", "same value again", PatchOutcome.APPLIED),
        ("05a", "null removes the key", PatchOutcome.APPLIED),
        ("05a", "null on an absent key", PatchOutcome.APPLIED),
        ("05a", "dryRun=All", PatchOutcome.APPLIED),
        ("05c", "int as the value", PatchOutcome.INVALID),
        ("05c", "broken JSON", PatchOutcome.INVALID),
        ("05c", "Content-Type application/json", PatchOutcome.INVALID),
        ("05c", "fieldManager too long", PatchOutcome.INVALID),
        ("06a", "wrong uid, merge patch", PatchOutcome.REPLACED),
        ("06a", "wrong uid, no-op value", PatchOutcome.REPLACED),
        ("06a", "right uid, merge patch", PatchOutcome.APPLIED),
        ("06a", "old resourceVersion", PatchOutcome.RETRY),
        ("06a", "wrong uid AND old resourceVersion", PatchOutcome.RETRY),
        ("06a", "bad resourceVersion abc", PatchOutcome.RETRY),
        ("06b", "old uid", PatchOutcome.REPLACED),
        ("07a", "no such pod", PatchOutcome.GONE),
        ("07a", "no such namespace", PatchOutcome.GONE),
        ("07a", "patch while terminating", PatchOutcome.APPLIED),
        ("07a", "patch after the delete", PatchOutcome.GONE),
        ("07b", "no RBAC", PatchOutcome.FORBIDDEN),
        ("07b", "no RBAC, pod that does not exist: 403 too", PatchOutcome.FORBIDDEN),
        ("07b", "bad token", PatchOutcome.RETRY),
        ("07b", "no Authorization header: anonymous", PatchOutcome.FORBIDDEN),
        ("07c", "bad key: space", PatchOutcome.INVALID),
        ("07c", "value of 262145 bytes", PatchOutcome.INVALID),
        ("07c", "request body over 3 MiB", PatchOutcome.INVALID),
        ("07d", "after the agent's own pod was deleted", PatchOutcome.RETRY),
        ("09c", "pod annotation patch in the terminating namespace", PatchOutcome.APPLIED),
        ("11a", "patch", PatchOutcome.RETRY),
        ("11b", "patch", PatchOutcome.RETRY),
        ("13", "patch with the old API uid", PatchOutcome.REPLACED),
        ("13", "uid = config.hash", PatchOutcome.REPLACED),
        ("13", "a mirror annotation added to a normal pod", PatchOutcome.INVALID),
        ("14", "other node's pod", PatchOutcome.DENIED),
        ("14", "unbound token", PatchOutcome.DENIED),
        ("14", "label", PatchOutcome.DENIED),
        ("14", "dry run, denied too", PatchOutcome.DENIED),
        ("14", "value of 1025 characters", PatchOutcome.DENIED),
        ("14", "wrong uid on another node's pod", PatchOutcome.REPLACED),
        ("14", "own node, the one key", PatchOutcome.APPLIED),
        ("15", "verbs ['watch']: merge patch", PatchOutcome.FORBIDDEN),
        ("15", "verbs ['patch']: merge patch", PatchOutcome.APPLIED),
        ("16", "patch with ?timeout=5s", PatchOutcome.RETRY),
        ("20", "patch, first seen", PatchOutcome.APPLIED),
    ],
)
def test_recorded_answers_mean_what_they_say(case, label, outcome):
    """Each answer of a real kube-apiserver is told by what can be done about it."""
    result = result_of(answer(recorded(case, label)))
    assert result.outcome is outcome
    assert bool(result.message) == (outcome is not PatchOutcome.APPLIED)


def test_every_recorded_merge_patch_of_a_pod_has_a_meaning_and_a_short_message():
    """None of them is told by more than a line, though a 422 may echo the whole pod."""
    found = [
        step
        for name in names()
        for step in steps(name)
        if step.method == "PATCH"
        and step.request_headers.get("Content-Type") == MERGE
        and "/pods/" in step.path
    ]
    assert len(found) > 60
    for step in found:
        result = result_of(answer(step))
        assert (result.outcome is PatchOutcome.APPLIED) == (step.status == 200)
        assert len(result.message) <= LONGEST
        assert not unfit(result.message)


@pytest.mark.parametrize(("case", "seconds"), [("11a", 1), ("11b", 16)])
def test_the_servers_retry_after_is_kept(case, seconds):
    """An overloaded server says when to come back, in a text body's header."""
    assert result_of(answer(recorded(case, "patch"))).retry_after_s == seconds


def test_the_request_is_a_merge_patch_that_only_this_very_pod_takes():
    """It carries the uid, names the field manager, and asks the server not to take longer than five seconds."""
    api = ScriptedApi()
    assert patch(api, annotations={"a/b": "yes", "old": None}).outcome is PatchOutcome.APPLIED
    [request] = api.requests
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/shop/pods/shop-0")
    assert request.content_type == MERGE
    assert request.query == {"fieldManager": "oomtracer", "timeout": "5s"}
    assert request.document == {
        "metadata": {"uid": "uid-0", "annotations": {"a/b": "yes", "old": None}, "labels": {"c": "d"}}
    }
    assert 5 < request.timeout_s <= 10


def test_a_dry_run_says_so_and_what_is_not_to_change_is_not_named():
    """Without labels the body has none: null would remove them all."""
    api = ScriptedApi()
    patch(api, dry_run=True, labels={})
    [request] = api.requests
    assert request.query["dryRun"] == "All"
    assert request.document == {"metadata": {"uid": "uid-0", "annotations": {"a/b": "yes"}}}


def test_odd_names_stay_one_part_of_the_path():
    """Whatever a name holds, the request is for that pod and no other resource."""
    api = ScriptedApi()
    patch(api, name="../../nodes/n?x=1#", namespace="a/b")
    assert api.requests[0].path == "/api/v1/namespaces/a%2Fb/pods/..%2F..%2Fnodes%2Fn%3Fx%3D1%23"


def test_without_a_uid_nothing_is_sent():
    """An empty uid is no precondition, so that it would mark whichever pod has the name."""
    api = ScriptedApi()
    with pytest.raises(ValueError, match="uid"):
        patch(api, uid="")
    assert api.requests == []


def test_no_answer_is_a_retry_in_doubt():
    """A patch whose answer is lost may have been applied; one that was refused, or never sent, was not."""
    result = patch(ScriptedApi(lambda _: ApiUnreachableError("read timeout")))
    assert (result.outcome, result.message, result.in_doubt) == (PatchOutcome.RETRY, "read timeout", True)
    refused = patch(ScriptedApi(lambda _: ApiUnreachableError("refused", was_sent=False)))
    assert (refused.outcome, refused.message, refused.in_doubt) == (PatchOutcome.RETRY, "refused", False)
    assert result_of(status(504, "Timeout")).in_doubt
    assert not result_of(status(429)).in_doubt
    assert not result_of(status(409, "Conflict")).in_doubt


def test_a_404_that_no_kubernetes_wrote_is_no_proof_that_the_pod_is_gone():
    """A load balancer without a backend answers so too."""
    assert result_of(Response(404, {}, b"default backend - 404")).outcome is PatchOutcome.RETRY


STATUSES = st.builds(
    dict,
    kind=st.sampled_from(["Status", "Pod", None, 7]),
    code=st.integers(0, 600),
    reason=st.text() | st.none(),
    message=st.text(),
    details=st.none()
    | st.fixed_dictionaries(
        {
            "causes": st.lists(
                st.fixed_dictionaries({"field": st.sampled_from(["metadata.uid", "spec", None])})
            )
        }
    ),
)
BODIES = st.binary() | STATUSES.map(json.dumps).map(str.encode) | st.text().map(str.encode)
FINAL = set(PatchOutcome) - {PatchOutcome.APPLIED, PatchOutcome.RETRY}


@given(
    code=st.integers(100, 599), body=BODIES, retry_after=st.text(alphabet="0123456789-. aMG:", max_size=12)
)
@example(200, b"", "")
@example(403, b"[" * 100_000, "")
@examples(300)
def test_any_status_with_any_body_gives_an_outcome(code, body, retry_after):
    """Only a 200 can be a success, only a 4xx is final, and the message fits a log line."""
    result = result_of(Response(code, {"retry-after": retry_after}, body))
    assert code == 200 or result.outcome is not PatchOutcome.APPLIED
    if result.outcome in FINAL:
        assert 400 <= code < 500
    assert result.retry_after_s is None or result.retry_after_s >= 0
    assert len(result.message) <= LONGEST
    assert not unfit(result.message)


def test_cancelling_a_patch_cancels_its_request():
    """The end of the program is not held up by a request."""

    async def main():
        api = ScriptedApi(lambda _: OK, delay_s=3600)
        task = asyncio.create_task(
            patch_pod(api, namespace="n", name="p", uid="u", annotations={"a": "b"}, labels={})
        )
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(api.in_flight.values())

    run_virtual(main())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in</html>",
        b"[]",
        b"7",
        b'{"kind":"Status"}',
        b'{"kind":{}}',
        b'{"kind":["Pod"]}',
        b"{" * 100_000,
    ],
)
def test_a_success_without_a_pod_is_none(body):
    """A proxy's login page is a 200 as well; a mark is told as made only if the pod came back."""
    result = result_of(Response(200, {}, body))
    assert (result.outcome, result.in_doubt) == (PatchOutcome.RETRY, True)

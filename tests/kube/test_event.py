from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.api import ApiUnreachableError, Response
from oomtracer.kube.event import (
    NOTE_BYTES,
    Event,
    EventOutcome,
    EventResult,
    Occurrences,
    Regarding,
    create_event,
    cut_note,
    event_name,
    result_of,
    update_event,
)
from tests.unit.builders import HOSTILE, examples

from .event_scene import EventApi
from .recordings import Step, recorded
from .scripted_api import DENIED, DOWN, OVERLOAD, Request, status
from .virtual_time import run_virtual

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
REGARDING = Regarding(kind="Pod", name="web-0", uid="ca70517f-bacb-4793-9052-117fcef9238b", namespace="demo")
EVENT = Event(
    name="web-0.17a1b2c3d4e5f701",
    regarding=REGARDING,
    time="2026-11-22T13:00:00.000000Z",
    reason="GpuMemoryPressure",
    action="Observing",
    note="about to run out of GPU memory",
    node="agent-a",
)
ONCE = Occurrences(1, EVENT.time)
TWICE = Occurrences(2, "2026-11-22T13:01:00.000000Z")
TEXTS = st.text() | st.sampled_from(HOSTILE)
PARTS = st.tuples(*[st.text("ab", max_size=3)] * 3)


def answer(step: Step) -> Response:
    """Build the recorded answer."""
    return Response(step.status, step.headers, step.body.encode())


def sent(event: Event, occurrences: Occurrences, *, update: bool = False) -> Request:
    """Send one Event; return the request that came."""

    async def main() -> Request:
        api = EventApi()
        await (update_event if update else create_event)(api, event, occurrences)
        [request] = api.requests
        return request

    return run_virtual(main())


def test_an_event_has_the_shape_that_the_real_server_took():
    """Path and body are those of the recording, but for who reports."""
    step = recorded("09b", "create")
    request = sent(EVENT, ONCE)
    assert (request.method, request.path) == ("POST", step.path)
    assert request.content_type == "application/json"
    taken = json.loads(step.request_body)
    assert request.document == taken | {"reportingController": "oomtracer/agent"}


def test_an_update_has_the_shape_that_the_real_server_took():
    """Path, content type and body are those of the recording: the series and nothing else."""
    step = recorded("09b", "patch: series starts (merge)")
    request = sent(EVENT, TWICE, update=True)
    assert (request.method, request.path) == ("PATCH", step.path)
    assert request.content_type == step.request_headers["Content-Type"]
    assert request.document == json.loads(step.request_body)


def test_an_event_that_has_happened_twice_is_created_as_a_series():
    """What happened again before it could be told is told at once; a series of one is refused."""
    assert sent(EVENT, TWICE).document["series"] == {"count": 2, "lastObservedTime": TWICE.last_time}
    assert "series" not in sent(EVENT, ONCE).document


def test_an_event_about_a_node_is_in_the_namespace_default():
    """A node has no namespace, and its Events may be in no other."""
    request = sent(replace(EVENT, regarding=Regarding(kind="Node", name="n", uid="n")), ONCE)
    assert request.path == "/apis/events.k8s.io/v1/namespaces/default/events"
    assert request.document["metadata"]["namespace"] == "default"
    assert request.document["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n"}


def test_the_field_path_and_the_kind_of_event_are_told():
    """A container is named by its field path; what is no warning is Normal."""
    regarding = replace(REGARDING, field_path="spec.containers{web}")
    document = sent(replace(EVENT, regarding=regarding, is_warning=False), ONCE).document
    assert document["regarding"]["fieldPath"] == "spec.containers{web}"
    assert document["type"] == "Normal"


def test_a_long_node_name_is_cut_for_the_reporting_instance():
    """The API server takes 128 characters there, a node's name may have 253."""
    document = sent(replace(EVENT, node="n" * 253), ONCE).document
    assert document["reportingInstance"] == "n" * 128


def test_the_server_is_given_less_time_than_it_would_take():
    """A write that the server cannot finish is answered in 5 s, and waited for a little longer."""
    request = sent(EVENT, ONCE)
    assert request.query == {"fieldManager": "oomtracer", "timeout": "5s"}
    assert request.timeout_s > 5


@pytest.mark.parametrize(
    ("recording", "label", "outcome"),
    [
        ("09b", "create", EventOutcome.DONE),
        ("09b", "patch: series starts (merge)", EventOutcome.DONE),
        ("09b", "patch: note may not change", EventOutcome.INVALID),
        ("09b", "patch of a gone event", EventOutcome.GONE),
        ("09b", "no eventTime", EventOutcome.INVALID),
        ("09b", "note of 1025 bytes", EventOutcome.INVALID),
        ("09b", "eventTime without microseconds", EventOutcome.INVALID),
        ("09a", "create again, same name", EventOutcome.EXISTS),
        ("09a", "no such namespace", EventOutcome.NAMESPACE_GONE),
        ("09a", "no RBAC", EventOutcome.FORBIDDEN),
        ("09c", "events.k8s.io/v1 event", EventOutcome.NAMESPACE_GONE),
        ("14", "other node's pod", EventOutcome.DENIED),
        ("16", "event", EventOutcome.RETRY),
    ],
)
def test_every_recorded_answer_has_its_meaning(recording, label, outcome):
    """What a real kube-apiserver answered leads to the right next step; what it refused is explained shortly."""
    step = recorded(recording, label)
    result = result_of(step.method, answer(step))
    assert result.outcome is outcome
    assert bool(result.message) is (outcome is not EventOutcome.DONE)
    assert len(result.message) < 400


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (OVERLOAD, EventOutcome.RETRY),
        (DOWN, EventOutcome.RETRY),
        (DENIED, EventOutcome.DENIED),
        (Response(404, {}, b"404 page not found\n"), EventOutcome.RETRY),
        (Response(302, {}, b""), EventOutcome.RETRY),
        (Response(401, {}, b""), EventOutcome.RETRY),
        (Response(403, {}, b"<html>"), EventOutcome.FORBIDDEN),
        (Response(413, {}, b""), EventOutcome.INVALID),
        (status(403, "Forbidden", 'events "x" is forbidden: exceeded quota: few'), EventOutcome.DENIED),
        (status(409, "Conflict", "the object has been modified"), EventOutcome.RETRY),
    ],
)
def test_other_answers_have_their_meaning(response, outcome):
    """Overload, proxies, quotas and policies are told apart: what may pass is tried again, the rest is not."""
    assert result_of("POST", response).outcome is outcome


def test_retry_after_is_handed_on():
    """How long the server asks to be left alone is part of the result."""
    assert result_of("POST", OVERLOAD).retry_after_s == 1.0


def test_no_answer_is_to_be_tried_again():
    """An Event that may or may not have been taken is sent again: its name makes that harmless."""

    async def main() -> EventResult:
        return await create_event(EventApi(lambda _: ApiUnreachableError("refused")), EVENT, ONCE)

    assert run_virtual(main()) == EventResult(EventOutcome.RETRY, message="refused")


@given(st.sampled_from(["POST", "PATCH"]), st.integers(100, 599), st.binary(max_size=200))
@examples(300)
def test_any_answer_has_a_meaning(method, code, body):
    """No status and no body makes the sender fail; success is only what says so, and what says what it made."""
    result = result_of(method, Response(code, {}, body))
    assert result.outcome is not EventOutcome.DONE
    assert result.message.isprintable()
    told = result_of(method, Response(code, {}, b'{"kind":"Event"}'))
    assert (told.outcome is EventOutcome.DONE) is (code in (200, 201))


@pytest.mark.parametrize(
    "body", [b"", b"<html>Please log in</html>", b'{"kind":"Status"}', b"[]", b"[" * 99_999]
)
def test_a_login_page_is_no_event(body):
    """A proxy before the API server may answer everything with 200: nothing was told."""
    for method, code in (("POST", 201), ("PATCH", 200)):
        assert result_of(method, Response(code, {}, body)).outcome is EventOutcome.RETRY


@given(TEXTS, st.lists(TEXTS, max_size=3))
@examples(500)
def test_names_are_valid_and_the_same_for_the_same(base, parts):
    """Any name and parts make a DNS subdomain of at most 253 characters, always the same one."""
    name = event_name(base, *parts)
    assert SUBDOMAIN.fullmatch(name)
    assert len(name) <= 253
    assert name == event_name(base, *parts)


@given(PARTS, PARTS)
@examples(300)
def test_names_of_different_things_differ(one, other):
    """Two things that are told have two names, also where their parts run together to the same text."""
    assert (event_name("web-0", *one) == event_name("web-0", *other)) is (one == other)


@pytest.mark.parametrize("base", ["a" * 253, "a" * 231 + "-" + "b" * 21, "a" * 229 + ".-." + "b" * 21])
def test_a_long_name_is_cut_where_it_stays_valid(base):
    """The cut leaves neither a dash nor a dot before the digest, and keeps the front readable."""
    name = event_name(base, "x")
    assert SUBDOMAIN.fullmatch(name)
    assert name.startswith(base[:200])


@given(st.text(max_size=20).map(lambda text: text * 100))
@examples(300)
def test_a_note_is_cut_between_characters(text):
    """At most 1,024 bytes are left, they are valid UTF-8 and the front of the text, and no byte too few."""
    note = cut_note(text)
    size = len(note.encode())
    assert size <= NOTE_BYTES
    assert text.encode("utf-8", "replace").decode().startswith(note)
    assert note == text or size > NOTE_BYTES - 4

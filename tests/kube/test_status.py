from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.api import Response
from oomtracer.kube.status import MESSAGE_CHARACTERS, Cause, Status, retry_after_of, status_of
from oomtracer.printable import printable

from .recordings import Step, names, recorded, steps

NOW_S = 1_795_374_211.0
LONGEST = MESSAGE_CHARACTERS + len("...")


def refusals() -> list[tuple[str, Step]]:
    """Every recorded answer that is an error, with its recording's name."""
    return [(name, step) for name in names() for step in steps(name) if step.status >= 400]


def status_of_step(step: Step) -> Status:
    """Read a recorded answer as it came."""
    return status_of(Response(step.status, step.headers, step.body.encode()))


def matching(name: str) -> set[tuple[str, str]]:
    """Which recorded refusals have the property: (recording, label)."""
    return {(file, step.label) for file, step in refusals() if getattr(status_of_step(step), name)}


def test_recorded_refusals_are_read_as_they_say():
    """Code, reason and Retry-After are those of the answer, the message is its beginning, and all is printable."""
    found = refusals()
    assert len(found) > 100
    for _, step in found:
        status = status_of_step(step)
        said = json.loads(step.body) if step.body.startswith("{") else {"message": step.body.strip()}
        assert status.code == step.status
        assert status.reason == said.get("reason", "")
        assert status.message.removesuffix("...") == printable(said["message"])[:MESSAGE_CHARACTERS]
        assert len(status.message) <= LONGEST
        assert status.retry_after_s == retry_after_of(step.headers)


def test_only_recorded_uid_mismatches_are_uid_mismatches():
    """A wrong uid is told from everything else that 422 stands for, and from the 409 of an eviction."""
    expected = {
        (file, step.label)
        for file, step in refusals()
        if step.status == 422 and "metadata.uid: Invalid value" in step.json["message"]
    }
    assert len(expected) == 9
    assert matching("is_uid_mismatch") == expected
    assert not status_of_step(recorded("07c", "bad key: space")).is_uid_mismatch
    assert not status_of_step(recorded("10a", "uid precondition wrong")).is_uid_mismatch


def test_only_recorded_policy_denials_are_admission_denials():
    """Denials of a policy are known whether they come as 403 or 422; RBAC's and NodeRestriction's are others."""
    expected = {
        (file, step.label)
        for file, step in refusals()
        if file.startswith("14") and "denied request" in step.json["message"]
    }
    assert len(expected) == 15
    assert ("14-validating-admission-policy", "value of 1025 characters") in expected
    assert matching("is_admission_denial") == expected


def test_only_recorded_terminating_namespaces_are_terminating():
    """Nothing can be created in a namespace that is going; patches there are still taken."""
    assert {file for file, _ in matching("is_namespace_terminating")} == {"09c-event-terminating-namespace"}
    assert len(matching("is_namespace_terminating")) == 4


def test_a_timeout_sent_as_text_is_a_status_all_the_same():
    """The server's own timeout handler sends a Status without kind, as text/plain."""
    step = recorded("16", "patch with ?timeout=5s")
    assert step.headers["content-type"].startswith("text/plain")
    assert '"kind"' not in step.body
    assert status_of_step(step).reason == "Timeout"


def test_plain_text_is_the_message():
    """An overload is one line of text and a Retry-After."""
    status = status_of_step(recorded("11a", "patch"))
    assert status == Status(code=429, message="Too many requests, please try again later.", retry_after_s=1.0)


def test_causes_are_read():
    """The fields that a 422 complains about are at hand."""
    status = status_of_step(recorded("09b", "no action"))
    assert status.causes == (Cause("FieldValueRequired", "action", "Required value"),)


def test_a_pods_owner_cannot_fake_a_denial():
    """What a message quotes of the pod is not taken for the server's own words."""
    quoted = "ValidatingAdmissionPolicy 'x' denied request"
    message = f'Pod "web-0" is invalid: metadata.annotations: Invalid value: "{quoted}"'
    assert not status_of(answer(422, {"kind": "Status", "message": message})).is_admission_denial


@pytest.mark.parametrize(
    ("code", "message", "is_denial"),
    [
        (400, 'admission webhook "w.example.com" denied the request: no', True),
        (
            403,
            "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            True,
        ),
        (
            403,
            f"events.events.k8s.io \"{'n' * 253}\" is forbidden: ValidatingAdmissionPolicy 'p' denied",
            True,
        ),
        (403, 'pods "a" is forbidden: User "u" cannot patch resource "pods"', False),
        (500, 'Internal error occurred: failed calling webhook "w.example.com": timeout', False),
    ],
)
def test_denials_of_webhooks_and_long_names(code, message, is_denial):
    """Webhooks deny with any 4xx; a webhook that is down is no denial; a long name hides none."""
    assert status_of(answer(code, {"kind": "Status", "message": message})).is_admission_denial is is_denial


def answer(code: int, document: object, headers: dict[str, str] | None = None) -> Response:
    """Make an answer of a JSON document."""
    return Response(code, headers or {}, json.dumps(document).encode())


def test_what_would_move_a_cursor_is_escaped_and_long_messages_are_cut():
    """A message that echoes a whole pod is safe for a log line."""
    status = status_of(answer(422, {"kind": "Status", "message": "\x1b[2J" + "x" * 100_000}))
    assert status.message.startswith("\\x1b[2J")
    assert len(status.message) == LONGEST


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"<html><body>502 Bad Gateway</body></html>",
        b"[" * 100_000,
        b'{"kind":"Status","details":{"retryAfterSeconds":' + b"9" * 4_000 + b"}}",
        b'{"kind":"Status","details":{"retryAfterSeconds":-1,"causes":[1,null,{"field":7}]}}',
        b'{"kind":"Pod","status":{"phase":"Running"}}',
        b'{"status":"error","error":{"code":502}}',
    ],
)
def test_garbage_is_read_too(body):
    """Proxies in between answer as they like."""
    status = status_of(Response(502, {}, body))
    assert (status.code, status.reason) == (502, "")
    assert not any((status.is_uid_mismatch, status.is_namespace_terminating))


@given(
    code=st.integers(200, 599), headers=st.dictionaries(st.just("retry-after"), st.text()), body=st.binary()
)
def test_any_bytes_have_a_status(code, headers, body):
    """Whatever the body and Retry-After hold, there is a short, printable Status."""
    check(status_of(Response(code, headers, body)), code)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CAUSES = st.fixed_dictionaries(
    {}, optional={"reason": JSON_VALUES, "field": JSON_VALUES, "message": JSON_VALUES}
)
DETAILS = st.fixed_dictionaries(
    {}, optional={"causes": st.lists(CAUSES | JSON_VALUES) | JSON_VALUES, "retryAfterSeconds": JSON_VALUES}
)
STATUSES = st.fixed_dictionaries(
    {"kind": st.just("Status")},
    optional={"reason": JSON_VALUES, "message": JSON_VALUES, "details": DETAILS | JSON_VALUES},
)


@given(code=st.integers(200, 599), document=STATUSES | JSON_VALUES)
def test_any_json_has_a_status(code, document):
    """Statuses with anything in any place are read as far as they make sense."""
    check(status_of(answer(code, document)), code)


def check(status: Status, code: int) -> None:
    """Demand what every Status promises."""
    assert status.code == code
    assert status.retry_after_s is None or 0 <= status.retry_after_s < float("inf")
    causes = [text for cause in status.causes for text in (cause.reason, cause.field, cause.message)]
    for text in (status.reason, status.message, *causes):
        assert len(text) <= LONGEST
        assert printable(text) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (" 16 ", 16.0),
        ("0", 0.0),
        ("9" * 400, 1e9),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("x", None),
    ],
)
def test_retry_after_in_seconds(value, seconds):
    """Whole seconds only, as the standard says; the rest is as if it weren't there."""
    assert retry_after_of({"retry-after": value}, now_s=NOW_S) == seconds


@given(seconds=st.integers(-(10**6), 10**6))
def test_retry_after_as_a_date(seconds):
    """A date counts from now, and one in the past means now."""
    date = format_datetime(datetime.fromtimestamp(NOW_S + seconds, UTC), usegmt=True)
    assert retry_after_of({"retry-after": date}, now_s=NOW_S) == max(0, seconds)


@given(value=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [0-9:]{0,12} \S{0,30}"))
def test_any_retry_after_is_read_or_ignored(value):
    """No text breaks it."""
    seconds = retry_after_of({"retry-after": value}, now_s=NOW_S)
    assert seconds is None or 0 <= seconds < float("inf")


def test_the_header_comes_before_the_details():
    """Both say the same on a real server; a proxy's header counts more."""
    document = {"kind": "Status", "details": {"retryAfterSeconds": 7}}
    assert status_of(answer(429, document)).retry_after_s == 7
    assert status_of(answer(429, document, {"retry-after": "3"})).retry_after_s == 3


@pytest.mark.parametrize(
    "said",
    [
        "Authorization: Bearer eyJhbGciOi.x-y_z",
        '{"authorization":"bearer eyJhbGciOi.x-y_z"}',
        r'"PATCH / HTTP/1.1\nBearer eyJhbGciOi.x-y_z"',
    ],
)
def test_an_echoed_credential_is_not_shown(said):
    """A proxy that repeats the request in its answer must not bring the token into the log."""
    assert "eyJhbGciOi" not in status_of(Response(400, {}, said.encode())).message

"""An answer of the API server: status, Retry-After and body, a line each for the first two.

What ``oomtracer.kube`` makes of it as the answer to a patch of a pod, to an Event, and to a list.
"""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from oomtracer.kube.api import Response
from oomtracer.kube.event import EventOutcome
from oomtracer.kube.event import result_of as event_result_of
from oomtracer.kube.patch import PatchOutcome, result_of
from oomtracer.kube.status import MESSAGE_CHARACTERS, Status, status_of
from oomtracer.kube.trouble import refusal
from tests.kube.recordings import names, steps
from tests.unit.builders import unfit

from .json_values import altered, text_of
from .mutate import mutated, noise
from .watch import POD, STATUS

_SECRET = "s3cr3tT0k3n"
# Not of a vertical tab that is shown as \x0b before "earer".
_LEAK = re.compile(rf"(?<!\\x0)(?:bearer|basic)(?:\s|\\x09)+{_SECRET}", re.IGNORECASE)
_CODES = (
    0,
    100,
    200,
    201,
    204,
    301,
    302,
    400,
    401,
    403,
    404,
    405,
    408,
    409,
    410,
    413,
    415,
    422,
    425,
    429,
    500,
    502,
)
_MORE_CODES = (*_CODES, 503, 504, 599, 999)
_WAITS = (
    *(
        "",
        "0",
        "1",
        "16",
        "-1",
        "1.5",
        " 7 ",
        "9" * 400,
        "\u0663",
        "\xb2",
        "soon",
        "Wed, 21 Oct 2099 07:28:00 GMT",
    ),
    *(
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Wed, 21 Oct 2015 07:28:00 -9999",
        "Mon, 1 Jan 0001 00:00:00 +2359",
        ",",
        "1 2 3 4",
    ),
    *(
        "21 Oct 99 7:28",
        "Wed, 21 Oct 2015",
        "0 Jan 0 0:0:0 0",
        "Wed, 21 Oct 2015 07.28.00 EST",
        "\x00",
        "Wed,",
    ),
)
_MESSAGES = (
    'pods "a" is forbidden: User "x" cannot patch resource "pods"',
    "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
    'admission webhook "w" denied the request: no',
    f"Authorization: Bearer {_SECRET}",
    f"basic\t{_SECRET}, and more",
    "x" * 2000,
    "\x1b[2J\u202e",
)
_CAUSES = (
    {"field": "metadata.uid", "reason": "FieldValueInvalid"},
    {"reason": "NamespaceTerminating"},
    {"reason": "ResourceVersionTooLarge"},
    None,
    1,
)
_REASONS = ("NotFound", "Forbidden", "Conflict", "AlreadyExists", "Invalid", "Expired", "", None, 7)
_RECORDED = tuple(
    (step.status, step.headers.get("retry-after", ""), step.body[:3000].encode())
    for name in names()
    for step in steps(name)
    if step.status != 200 or step.method == "PATCH"
)[::3]
_TEXTS = (
    b"<html><title>502 Bad Gateway</title>",
    b"",
    b"null",
    b"{}",
    b"[]",
    b'"Pod"',
    b"Too many requests\n",
    b"\xff\xfe{\0",
)


def generate(random: Random) -> bytes:
    """Make an answer that is real, near to one, or a proxy's."""
    chance = random.random()
    if chance < 0.2:
        code, wait, body = random.choice(_RECORDED)
        body = (
            mutated(random, body, (f"Bearer {_SECRET}".encode(), b'"', b"{", b"}", b"\\"))
            if chance < 0.15
            else body
        )
    else:
        code, wait, body = random.choice(_MORE_CODES), random.choice(_WAITS), _body(random)
        if random.random() < 0.2:
            wait = mutated(random, wait.encode(), (b"GMT", b"+", b":", b"Oct ", b"9")).decode("latin-1")
    return f"{code}\n{wait.encode('utf-8', 'replace').hex()}\n".encode() + body


def check(data: bytes) -> None:
    """A meaning and a short line for people, whatever came; nothing final out of what is not the API server's."""
    response = _response(data)
    status = status_of(response)
    _check_status(status)
    _check_patch(response, status)
    for method in ("POST", "PATCH"):
        event = event_result_of(method, response)
        assert event.message == "" or event.outcome is not EventOutcome.DONE
        assert status.code < 500 or event.outcome is EventOutcome.RETRY
        _check_line(event.message)
    for verb in ("list", "watch"):
        _check_line(str(refusal(status, verb)), most=2 * MESSAGE_CHARACTERS)


def _response(data: bytes) -> Response:
    code, wait, body = (*data.split(b"\n", 2), b"", b"")[:3]
    try:
        number, text = int(code[:6]), bytes.fromhex(wait.decode("ascii")).decode()
    except ValueError:
        number, text = 400, ""
    return Response(number, {"retry-after": text} if text else {}, body)


def _check_status(status: Status) -> None:
    for text in (
        status.reason,
        status.message,
        *[text for cause in status.causes for text in (cause.reason, cause.field)],
    ):
        _check_line(text)
    assert len(status.causes) <= 16
    assert status.retry_after_s is None or status.retry_after_s >= 0
    assert not status.is_admission_denial or 400 <= status.code < 500


def _check_patch(response: Response, status: Status) -> None:
    result = result_of(response)
    again = result_of(response)  # a Retry-After that is a date depends on the time
    assert (again.outcome, again.message, again.in_doubt) == (result.outcome, result.message, result.in_doubt)
    _check_line(result.message)
    assert (result.message == "") == (result.outcome is PatchOutcome.APPLIED)
    assert result.retry_after_s is None or result.outcome is PatchOutcome.RETRY
    assert result.in_doubt <= (result.outcome is PatchOutcome.RETRY)
    if result.outcome is PatchOutcome.APPLIED:
        assert response.status == 200
        assert json.loads(response.body)["kind"] in ("Pod", "PartialObjectMetadata")
    if not 400 <= response.status < 500 or response.status in (401, 408, 425, 429):
        assert result.outcome in (PatchOutcome.RETRY, PatchOutcome.APPLIED, PatchOutcome.DENIED)
    if response.status >= 500:
        assert result.outcome is PatchOutcome.RETRY
        assert result.in_doubt
    if result.outcome is PatchOutcome.GONE:
        assert status.reason == "NotFound"
    if result.outcome is PatchOutcome.REPLACED:
        assert b"metadata.uid" in response.body or b"\\u" in response.body or b"\0" in response.body


def _check_line(text: str, most: int = MESSAGE_CHARACTERS + 20) -> None:
    assert len(text) <= most
    assert not unfit(text)
    assert not _LEAK.search(text)


def _body(random: Random) -> bytes:
    chance = random.random()
    if chance < 0.1:
        return noise(random, 4096)
    if chance < 0.2:
        return random.choice(_TEXTS)
    if chance < 0.3:
        return text_of(random, altered(random, POD))
    return text_of(random, altered(random, _status(random)))


def _status(random: Random) -> dict[str, Any]:
    details = {
        "causes": [random.choice(_CAUSES) for _ in range(random.randint(0, 3))],
        "retryAfterSeconds": 5,
    }
    return {
        **STATUS,
        "message": random.choice(_MESSAGES),
        "reason": random.choice(_REASONS),
        "code": random.choice(_MORE_CODES),
        "details": details,
    }

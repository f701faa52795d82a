"""Events of events.k8s.io/v1: what a kube-apiserver takes, and what its answers mean for the next step.

Names are made from what is told, not from the time: a POST that is sent again because its answer was lost finds
its own Event there (409), and nothing is told twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from oomtracer.kube.api import FIELD_MANAGER, JSON, MERGE_PATCH, Api, ApiUnreachableError, Response
from oomtracer.kube.status import Status, status_of

REPORTING_CONTROLLER = "oomtracer/agent"
NOTE_BYTES = 1024
"""The longest note that the API server takes, in bytes of UTF-8."""
NAME_CHARACTERS = 253
INSTANCE_CHARACTERS = 128
NODE_NAMESPACE = "default"
"""Where Events of objects without a namespace live."""

# What the server may take for one write: by itself it would try for 34 s.
_TIMEOUT_S = 5.0
# Time for connecting and for the way back, on top of that.
_MARGIN_S = 5.0
_DIGEST_BYTES = 10
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# A 410 to a write is no API server's, but of something before it.
_TRY_AGAIN = frozenset({401, 404, 408, 409, 410, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Regarding:
    """The object that an Event is shown with: ``kubectl describe`` looks for name, namespace and uid."""

    kind: str
    name: str
    uid: str
    namespace: str | None = None
    """None for what has no namespace, like a node."""
    field_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is told once and cannot be changed afterwards."""

    name: str
    regarding: Regarding
    time: str
    """RFC 3339, UTC, with exactly six decimals: the API server takes no other."""
    reason: str
    action: str
    note: str
    """At most ``NOTE_BYTES`` long."""
    node: str
    is_warning: bool = True

    @property
    def namespace(self) -> str:
        """The namespace that the Event itself is in."""
        return self.regarding.namespace or NODE_NAMESPACE


@dataclass(frozen=True, slots=True)
class Occurrences:
    """How often it happened, and when last."""

    count: int
    last_time: str


class EventOutcome(StrEnum):
    """What came of a write; all but ``retry`` are final."""

    DONE = "done"
    EXISTS = "exists"
    """An Event of that name is there: an earlier attempt was applied, as the first occurrence or more."""
    GONE = "gone"
    """The Event to be changed is not there: its time to live (an hour by default) is over."""
    NAMESPACE_GONE = "namespace_gone"
    """The namespace is deleted, or about to be."""
    FORBIDDEN = "forbidden"
    """The account lacks the right."""
    DENIED = "denied"
    """An admission policy, a webhook or a quota refused it."""
    INVALID = "invalid"
    """The API server takes no such Event, however often it is sent."""
    RETRY = "retry"
    """Not now: overload, credentials, no answer. It may have been applied all the same."""


@dataclass(frozen=True, slots=True)
class EventResult:
    """The outcome; ``message`` is short, printable and empty where the server took it."""

    outcome: EventOutcome
    retry_after_s: float | None = None
    message: str = ""


def event_name(base: str, *parts: str) -> str:
    """A valid name that is the same for the same parts: ``web-0.1f0c...``, at most 253 characters."""
    digest = blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).hexdigest()
    stem = base[: NAME_CHARACTERS - len(digest) - 1].rstrip("-.")
    return f"{stem}.{digest}" if _SUBDOMAIN.fullmatch(stem) else f"oomtracer.{digest}"


def cut_note(text: str) -> str:
    """The text, cut between two characters so that it fits into a note."""
    note = text.encode("utf-8", "replace")
    return note[:NOTE_BYTES].decode("utf-8", "ignore")


async def create_event(api: Api, event: Event, occurrences: Occurrences) -> EventResult:
    """Create the Event, as a series if it happened more than once; never raises."""
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": event.namespace},
        "regarding": _regarding(event.regarding),
        "eventTime": event.time,
        "reason": event.reason,
        "action": event.action,
        "note": event.note,
        "type": "Warning" if event.is_warning else "Normal",
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": event.node[:INSTANCE_CHARACTERS],
    }
    if occurrences.count > 1:
        body |= _series(occurrences)
    return await _write(api, "POST", _path(event.namespace), body, JSON)


async def update_event(api: Api, event: Event, occurrences: Occurrences) -> EventResult:
    """Say how often the Event has happened by now, at least twice; never raises."""
    path = f"{_path(event.namespace)}/{quote(event.name, safe='')}"
    return await _write(api, "PATCH", path, _series(occurrences), MERGE_PATCH)


def result_of(method: str, response: Response) -> EventResult:
    """The meaning of an answer to a POST or a PATCH, whatever its status and body."""
    if response.status in (200, 201):
        if _is_event(response.body):
            return EventResult(EventOutcome.DONE)
        # A proxy's login page has a 200 too.
        return EventResult(EventOutcome.RETRY, message=f"HTTP {response.status}, but the answer is no Event")
    status = status_of(response)
    outcome = _outcome(method, status)
    message = f"HTTP {status.code}{': ' if status.message else ''}{status.message}"
    return EventResult(outcome, status.retry_after_s if outcome is EventOutcome.RETRY else None, message)


async def _write(api: Api, method: str, path: str, body: Mapping[str, Any], content_type: str) -> EventResult:
    try:
        response = await api.request(
            method,
            path,
            query={"fieldManager": FIELD_MANAGER, "timeout": f"{_TIMEOUT_S:.0f}s"},
            body=json.dumps(body, separators=(",", ":")).encode(),
            content_type=content_type,
            timeout_s=_TIMEOUT_S + _MARGIN_S,
            repeatable=True,
        )
    except ApiUnreachableError as error:
        return EventResult(EventOutcome.RETRY, message=str(error))
    return result_of(method, response)


def _is_event(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("kind") == "Event"


def _outcome(method: str, status: Status) -> EventOutcome:
    if status.is_namespace_terminating:
        return EventOutcome.NAMESPACE_GONE
    if status.is_admission_denial or _is_over_quota(status):
        return EventOutcome.DENIED
    match status.code, status.reason:
        case 409, "AlreadyExists":
            return EventOutcome.EXISTS
        case 404, "NotFound":  # a load balancer whose API servers are all away has 404s of its own
            return EventOutcome.GONE if method == "PATCH" else EventOutcome.NAMESPACE_GONE
        case 403, _:
            return EventOutcome.FORBIDDEN
    is_final = 400 <= status.code < 500 and status.code not in _TRY_AGAIN
    return EventOutcome.INVALID if is_final else EventOutcome.RETRY


def _is_over_quota(status: Status) -> bool:
    """Whether who is authorised is refused all the same: RBAC says who "cannot" do what."""
    return status.code == 403 and status.reason == "Forbidden" and " cannot " not in status.message


def _path(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{quote(namespace, safe='')}/events"


def _regarding(regarding: Regarding) -> dict[str, str]:
    about = {"apiVersion": "v1", "kind": regarding.kind, "name": regarding.name, "uid": regarding.uid}
    if regarding.namespace is not None:
        about["namespace"] = regarding.namespace
    if regarding.field_path is not None:
        about["fieldPath"] = regarding.field_path
    return about


def _series(occurrences: Occurrences) -> dict[str, Any]:
    return {"series": {"count": occurrences.count, "lastObservedTime": occurrences.last_time}}

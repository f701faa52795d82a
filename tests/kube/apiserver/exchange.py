"""One request and its answer, without the wire: what handlers are given and what they give back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .access import Attempt, User
from .statuses import RefusedError

POD = {"kind": "Pod", "apiVersion": "v1"}
EVENT = {"kind": "Event", "apiVersion": "events.k8s.io/v1"}
PARTIAL = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
AVAILABLE = (
    "application/json, application/yaml, application/vnd.kubernetes.protobuf, "
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
)
BODY_LIMIT_BYTES = 3_145_728


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose sender is known. ``headers`` have lower-case names."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    user: User
    attempt: Attempt

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing may be stored."""
        return self.query.get("dryRun") == "All"

    @property
    def wants_partial(self) -> bool:
        """Whether only metadata is asked for (``as=PartialObjectMetadata`` or its list)."""
        return "as=PartialObjectMetadata" in self.headers.get("accept", "")

    @property
    def manager(self) -> str:
        """The field manager: named in the query, or the first word of the User-Agent."""
        return self.query.get("fieldManager") or self.headers.get("user-agent", "unknown").partition("/")[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a JSON body (a mapping) or any other (bytes, with its type in ``headers``)."""

    status: int
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    pretty: bool = False

    def encoded(self) -> bytes:
        """The body as sent: compact JSON and a newline, as Go's encoder writes it."""
        if isinstance(self.body, bytes):
            return self.body
        if self.pretty:
            return json.dumps(self.body, indent=2, ensure_ascii=False).encode()
        return to_json(self.body) + b"\n"


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8; what is no character of Unicode becomes U+FFFD, as in Go."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def reply_of(refused: RefusedError, accept: str) -> Reply:
    """The answer for a refused request; it is indented where the client asked for no plain JSON."""
    return Reply(
        refused.code, refused.body, refused.headers, pretty="as=" in accept or not _takes_json(accept)
    )


def shown(call: Call, pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod as the client wants to see it."""
    if call.wants_partial:
        return PARTIAL | {"metadata": pod["metadata"]}
    return POD | dict(pod)


def check_accept(call: Call) -> None:
    """Raises RefusedError: 406, or 501 for a representation that this server does not have."""
    accept = call.headers.get("accept", "*/*")
    if _takes_json(accept):
        return
    if "yaml" in accept or "protobuf" in accept:
        raise not_modelled(f"Accept: {accept}")
    message = f"406: Not Acceptable\n\nAvailable representations: {AVAILABLE}"
    raise RefusedError(406, message, "NotAcceptable", details={})


def _takes_json(accept: str) -> bool:
    return "json" in accept or "*/*" in accept


def decoded(body: bytes, *, what: str) -> dict[str, Any]:
    """The JSON object in a request's body; ``what`` it is begins the server's complaint.

    Raises:
        RefusedError: 400, or 413 for a body over 3 MiB.
    """
    check_size(body)
    try:
        value = json.loads(body.decode("utf-8", "replace"))
    except ValueError as error:
        raise RefusedError(400, f"{what}: {_go_words(body, error)}", "BadRequest") from error
    if not isinstance(value, dict):
        kind = "array" if isinstance(value, list) else type(value).__name__
        into = "Go value of type map[string]interface {}"
        raise RefusedError(400, f"{what}: json: cannot unmarshal {kind} into {into}", "BadRequest")
    return value


def check_size(body: bytes) -> None:
    """Raises RefusedError: 413, a body over 3 MiB."""
    if len(body) > BODY_LIMIT_BYTES:
        message = f"Request entity too large: limit is {BODY_LIMIT_BYTES}"
        raise RefusedError(413, message, "RequestEntityTooLarge")


def not_modelled(what: str) -> RefusedError:
    """501: the real server can do this, the fake cannot; a test that gets here is wrong about one of them."""
    return RefusedError(501, f"the fake API server does not model {what}", "NotImplemented")


def _go_words(body: bytes, error: ValueError) -> str:
    position = getattr(error, "pos", len(body))
    rest = body.decode("utf-8", "replace")[position:].lstrip()
    if not rest:
        return "unexpected end of JSON input"
    return f"invalid character {rest[0]!r} looking for beginning of value"

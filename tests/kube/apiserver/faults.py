"""Scripted faults: which requests they meet, and what those get instead of, or on top of, the real answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .exchange import Reply, to_json
from .statuses import status
from .watch import End
from .wire import CutError, Wire

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Request:
    """One line of the request log. ``status`` is None until the answer begins, or if there is none."""

    time_s: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    is_watch: bool
    status: int | None = None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Action(Protocol):
    """What a fault does."""

    async def play(self, wire: Wire) -> bool:
        """True if the request was answered; False lets the real answer follow."""


@dataclass(eq=False, slots=True)
class Fault:
    """An action for the requests that match, from the one after ``skip`` on, ``times`` times."""

    action: Action
    matches: Callable[[Request], bool]
    times: int | None = None
    skip: int = 0
    hits: int = 0
    removed: bool = False

    def remove(self) -> None:
        """The fault is over."""
        self.removed = True

    def takes(self, request: Request) -> bool:
        """Whether this request is hit; counts it."""
        if self.removed or self.hits == self.times or not self.matches(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class Faults:
    """The script: of several faults that match, the newest wins."""

    script: list[Fault] = field(default_factory=list)

    def action_for(self, request: Request) -> Action | None:
        """The action that meets this request, if any."""
        for fault in reversed(self.script):
            if fault.takes(request):
                return fault.action
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """Another answer than the real one, after ``delay_s``. A mapping is sent as JSON, text as text/plain."""

    status: int
    body: Mapping[str, Any] | str | bytes = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    async def play(self, wire: Wire) -> bool:
        """Answer."""
        await wire.pause(self.delay_s)
        body = self.body.encode() if isinstance(self.body, str) else self.body
        kind = (
            {"Content-Type": TEXT, "X-Content-Type-Options": "nosniff"} if isinstance(self.body, str) else {}
        )
        await wire.send(Reply(self.status, body, kind | dict(self.headers)))
        return True


@dataclass(frozen=True, slots=True)
class Hang:
    """Silence: no head ever comes, the connection stays open."""

    async def play(self, wire: Wire) -> bool:
        """Never answer."""
        await wire.forever()
        return True


@dataclass(frozen=True, slots=True)
class Late:
    """The real answer, ``delay_s`` late; the request takes effect only then."""

    delay_s: float

    async def play(self, wire: Wire) -> bool:
        """Wait."""
        await wire.pause(self.delay_s)
        return False


@dataclass(frozen=True, slots=True)
class Refused:
    """The connection ends without any answer, and the request has no effect."""

    end: End = End.RESET

    async def play(self, wire: Wire) -> bool:
        """Hang up."""
        wire.drop(reset=self.end is End.RESET)
        raise CutError


@dataclass(frozen=True, slots=True)
class Truncated:
    """The real answer (so the request takes effect), but the connection ends after some bytes of its body."""

    after_bytes: int
    end: End = End.RESET

    async def play(self, wire: Wire) -> bool:
        """Limit what is sent."""
        wire.limit_bytes, wire.cut = self.after_bytes, self.end
        return False


@dataclass(frozen=True, slots=True)
class Drip:
    """The real answer, a few bytes at a time."""

    piece_bytes: int
    pause_s: float

    async def play(self, wire: Wire) -> bool:
        """Slow down what is sent."""
        wire.drip = (self.piece_bytes, self.pause_s)
        return False


@dataclass(frozen=True, slots=True)
class Stream:
    """A chunked 200 with these pieces as its body; ``end`` None leaves it open, silent."""

    pieces: Sequence[bytes]
    end: End | None = End.CLEAN
    content_type: str = JSON

    async def play(self, wire: Wire) -> bool:
        """Answer."""
        await wire.begin(200, {"Content-Type": self.content_type})
        for piece in self.pieces:
            await wire.write(piece)
        if self.end is None:
            await wire.forever()
        else:
            await wire.finish(self.end)
        return True


def overloaded(retry_after_s: int = 1) -> Answer:
    """429 of the overload protection: plain text, no Status."""
    text = "Too many requests, please try again later.\n"
    return Answer(429, text, {"Retry-After": str(retry_after_s)})


def shutting_down() -> Answer:
    """429 of a server that is about to stop."""
    text = "The apiserver is shutting down, please try again later.\n"
    return Answer(429, text, {"Retry-After": "5", "Connection": "close", "Cache-Control": ""})


def storage_initializing() -> Answer:
    """429 while the watch cache is filled: a Status."""
    message, details = "storage is (re)initializing", {"retryAfterSeconds": 1}
    return Answer(429, status(429, message, "TooManyRequests", details=details), {"Retry-After": "1"})


def disruption_budget() -> Answer:
    """429 of a PodDisruptionBudget: a Status with a cause, no Retry-After."""
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    cause = {
        "reason": "DisruptionBudget",
        "message": "The disruption budget web needs 2 healthy pods and has 2 currently",
    }
    return Answer(429, status(429, message, "TooManyRequests", details={"causes": [cause]}))


def etcd_timeout(delay_s: float = 0.0) -> Answer:
    """504 of a write while etcd is away; the real one comes after 34 s, or the query's ``timeout``."""
    message = "Timeout: request did not complete within requested timeout - context deadline exceeded"
    return Answer(504, status(504, message, "Timeout", details={}), delay_s=delay_s)


def request_timeout(delay_s: float = 0.0) -> Answer:
    """504 of a request that ran into the query's ``timeout`` (or 60 s): a Status without kind, as text."""
    body = status(504, "Timeout: request did not complete within the allotted timeout", "Timeout", details={})
    del body["kind"], body["apiVersion"]
    return Answer(504, to_json(body) + b"\n", {"Content-Type": TEXT}, delay_s=delay_s)

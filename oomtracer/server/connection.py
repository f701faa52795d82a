"""One client: bytes in, responses out, and a deadline for whatever the client has to do next.

    READING ──request──> (answer) ──all taken──> WAITING ──first byte──> READING
       │                    └──not all taken──> SENDING ──all taken──> WAITING
       └──error, or the last answer──> ... ──> CLOSING ──end of input or deadline──> CLOSED

Input is read only while an incomplete request is all there is, so a connection never buffers more than one
request and one read; it holds at most one response.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import h11

from oomtracer.server.routes import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from oomtracer.server.routes import Headers

_READ_BYTES = 16 * 1024
_NOTHING = memoryview(b"")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client, and all clients together, may take. Times in seconds, sizes in bytes."""

    header_bytes: int = 16 * 1024
    """A request's line and headers; longer is answered 431."""
    header_seconds: float = 10.0
    """From the connection's start, or a later request's first byte, to the request's end; then 408."""
    idle_seconds: float = 60.0
    """Between a response and the next request's first byte."""
    send_seconds: float = 10.0
    """For the client to take a whole response; then the connection is reset."""
    linger_seconds: float = 2.0
    """For the client to close after the last response; closing first could destroy what it has not read."""
    connections: int = 1000
    """Open at once; one more closes the one that has waited longest."""
    unsent_bytes: int = 8 * 1024 * 1024
    """Held for slow readers, all together; more resets the slowest. One response of any size is allowed."""
    turn_seconds: float = 0.005
    """For answers, all together, before the loop gets its turn: a crowd may not hold up what else runs there."""


class Phase(Enum):
    """What the connection is waiting for."""

    WAITING = auto()
    READING = auto()
    SENDING = auto()
    CLOSING = auto()
    CLOSED = auto()


class Owner(Protocol):
    """What a connection needs from its server."""

    limits: Limits
    stopping: bool

    def respond(self, method: bytes, target: bytes, headers: Headers) -> Response:
        """Answer one request."""

    def moved(self, connection: Connection) -> None:
        """Note that a connection entered a phase, CLOSED included."""

    def later(self, step: Callable[[], None]) -> None:
        """Call ``step`` when its turn has come."""


class Connection:
    """Serves one accepted, non-blocking socket, which it owns from then on."""

    __slots__ = ("_deadline", "_http", "_loop", "_owner", "_reading", "_socket", "_unsent", "phase")

    def __init__(self, client: socket.socket, owner: Owner) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = client
        self._owner = owner
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=owner.limits.header_bytes)
        self._unsent = _NOTHING
        self._deadline: asyncio.TimerHandle | None = None
        self._reading = False
        self.phase = Phase.READING
        self._read(wanted=True)
        self._enter(Phase.READING, owner.limits.header_seconds)

    @property
    def held_bytes(self) -> int:
        """The size of the response being sent; all of it is held until its end is taken."""
        return memoryview(self._unsent.obj).nbytes

    def finish(self) -> None:
        """Close once no response is on its way."""
        if self.phase in (Phase.WAITING, Phase.READING):
            self.close()

    def close(self, *, reset: bool = False) -> None:
        """Close now; ``reset`` also makes the kernel drop what the client has not taken."""
        if self.phase is Phase.CLOSED:
            return
        self._read(wanted=False)
        self._loop.remove_writer(self._socket)
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.close()
        self._unsent = _NOTHING
        self._enter(Phase.CLOSED)

    def _enter(self, phase: Phase, seconds: float | None = None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._loop.call_later(seconds, self._expire)
        self.phase = phase
        self._owner.moved(self)

    def _expire(self) -> None:
        if self.phase is Phase.READING and self._http.trailing_data[0]:
            self._send(Response.error(HTTPStatus.REQUEST_TIMEOUT), last=True)
        else:
            self.close(reset=self.phase is Phase.SENDING)

    def _read(self, *, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self._socket, self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._socket)
        self._reading = wanted

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self.phase is not Phase.CLOSING:
            self._http.receive_data(data)
            self._read(wanted=False)
            self._owner.later(self._advance)

    def _advance(self) -> None:
        """Answer at most one request; the next one of a pipeline waits for its turn."""
        if self.phase in (Phase.CLOSING, Phase.CLOSED):
            return
        try:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._answer(event, bodiless=isinstance(self._http.next_event(), h11.EndOfMessage))
                return
        except h11.RemoteProtocolError as error:
            self._send(Response.error(error.error_status_hint), last=True)
            return
        self._read(wanted=True)
        if self.phase is Phase.WAITING:
            self._enter(Phase.READING, self._owner.limits.header_seconds)

    def _answer(self, request: h11.Request, *, bodiless: bool) -> None:
        """Answer; what has a body is not read to its end, so it is the connection's last request."""
        if _size_bytes(request) > self._owner.limits.header_bytes:
            self._send(Response.error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), last=True)
            return
        response = self._owner.respond(request.method, request.target, _headers(request))
        self._send(response, bodiless=request.method == b"HEAD", last=not bodiless)

    def _send(self, response: Response, *, bodiless: bool = False, last: bool = False) -> None:
        body = b"" if bodiless else response.body
        head = _head(response, last=last or self._owner.stopping)
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        self._unsent = memoryview(b"".join(self._http.send(event) for event in events))
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = _NOTHING
            self._sent()
        elif self.phase is not Phase.SENDING:
            self._read(wanted=False)
            self._loop.add_writer(self._socket, self._flush)
            self._enter(Phase.SENDING, self._owner.limits.send_seconds)

    def _sent(self) -> None:
        if self.phase is Phase.SENDING:
            self._loop.remove_writer(self._socket)
        if self._owner.stopping or self._http.our_state is not h11.DONE:
            self._say_goodbye()
            return
        self._http.start_next_cycle()
        pipelined = bool(self._http.trailing_data[0])
        self._read(wanted=not pipelined)
        if pipelined:
            self._enter(Phase.READING, self._owner.limits.header_seconds)
            self._owner.later(self._advance)
        else:
            self._enter(Phase.WAITING, self._owner.limits.idle_seconds)

    def _say_goodbye(self) -> None:
        """End our side and discard what still comes: closing on unread input would reset the connection."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._read(wanted=True)
        self._enter(Phase.CLOSING, self._owner.limits.linger_seconds)


def _head(response: Response, *, last: bool) -> h11.Response:
    headers = [
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if response.allow:
        headers.append(("Allow", response.allow))
    if last:
        headers.append(("Connection", "close"))
    return h11.Response(status_code=response.status, headers=headers, reason=response.reason)


def _headers(request: h11.Request) -> Headers:
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _size_bytes(request: h11.Request) -> int:
    """Return the size of the request's header block, as sent but for optional white space."""
    line = len(request.method) + len(request.target) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers)

"""The server: accepts clients, keeps the limits that they share, starts and stops."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from oomtracer.server.address import BindAddress, open_listeners
from oomtracer.server.connection import Connection, Limits, Phase
from oomtracer.server.routes import Router

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

    from oomtracer.server.routes import Routes

_log = logging.getLogger(__name__)

_DEFAULTS = Limits()
_STOP_SECONDS = 5.0
_ACCEPT_RETRY_SECONDS = 1.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})


class HttpServer:
    """Serves ``routes`` on ``address`` while its ``async with`` block runs.

    Entering raises UsageError if the address cannot be listened on, OomTracerError if the system is out of
    something. Leaving is ``aclose()``.

    Counters: ``accepted`` connections, ``evicted`` ones (closed to make room for others), and ``refused``
    attempts to accept one, for want of descriptors or memory.
    """

    def __init__(self, address: BindAddress, routes: Routes, *, limits: Limits = _DEFAULTS) -> None:
        self.limits = limits
        self.stopping = False
        self.accepted = 0
        self.evicted = 0
        self.refused = 0
        self.respond = Router(routes).respond
        self._address = address
        self._listeners: list[socket.socket] = []
        # In the order in which they entered their phase: the one that has waited longest is first.
        self._connections: dict[Connection, None] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._turns: deque[Callable[[], None]] = deque()
        self._turn_due = False

    async def __aenter__(self) -> Self:
        self._listeners = open_listeners(self._address)
        self._start_accepting()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def addresses(self) -> tuple[BindAddress, ...]:
        """The addresses and ports really listened on; empty once stopped."""
        return tuple(BindAddress(*listener.getsockname()[:2]) for listener in self._listeners)

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    async def aclose(self, deadline_seconds: float = _STOP_SECONDS) -> None:
        """Stop: no new clients, idle ones closed; responses on their way have ``deadline_seconds``.

        Everything is closed when it returns, also if it is cancelled. A second call does nothing.
        """
        self.stopping = True
        self._stop_accepting()
        while self._listeners:
            self._listeners.pop().close()
        try:
            for connection in list(self._connections):
                connection.finish()
            await self._until_empty(deadline_seconds)
        finally:
            for connection in list(self._connections):
                connection.close(reset=connection.phase is Phase.SENDING)

    async def _until_empty(self, seconds: float) -> None:
        if self._connections:
            self._empty.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                _log.debug("closing %d connections that did not end by themselves", len(self._connections))

    def later(self, step: Callable[[], None]) -> None:
        """Call ``step`` when its turn has come.

        All connections together get a few milliseconds of each iteration of the loop, so that clients, however
        many, do not hold up what else runs on it.
        """
        self._turns.append(step)
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        end = time.monotonic() + self.limits.turn_seconds
        while self._turns:
            self._turns.popleft()()
            if time.monotonic() >= end:
                break
        self._turn_due = bool(self._turns)
        if self._turn_due:
            asyncio.get_running_loop().call_soon(self._turn)

    def moved(self, connection: Connection) -> None:
        """Note that ``connection`` entered a phase."""
        self._connections.pop(connection, None)
        if connection.phase is not Phase.CLOSED:
            self._connections[connection] = None
        elif not self._connections:
            self._empty.set()
        if connection.phase is Phase.SENDING:
            self._limit_unsent(connection)

    def _limit_unsent(self, newest: Connection) -> None:
        held_bytes = sum(connection.held_bytes for connection in self._connections)
        while held_bytes > self.limits.unsent_bytes:
            slowest = self._longest(sending=True)
            if slowest is None or slowest is newest:
                return
            held_bytes -= slowest.held_bytes
            self._evict(slowest)

    def _longest(self, *, sending: bool) -> Connection | None:
        return next((one for one in self._connections if (one.phase is Phase.SENDING) is sending), None)

    def _evict(self, connection: Connection) -> None:
        self.evicted += 1
        connection.close(reset=connection.phase is Phase.SENDING)

    def _start_accepting(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _stop_accepting(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept one client; the loop calls again for the next one."""
        try:
            client, _ = listener.accept()
        except OSError as error:
            self._not_accepted(error)
            return
        if len(self._connections) >= self.limits.connections:
            # A newcomer is likelier to be a probe than one that has been silent for long.
            longest = self._longest(sending=False) or self._longest(sending=True)
            if longest is not None:
                self._evict(longest)
        try:
            client.settimeout(0)
            Connection(client, self)
        except OSError as error:
            client.close()
            self._not_accepted(error)
        else:
            self.accepted += 1
            self._retry = None

    def _not_accepted(self, error: OSError) -> None:
        """Out of descriptors or memory: close an idle connection, else pause; the client stays in the queue.

        Other errors are the client's: it is gone already.
        """
        if error.errno not in _EXHAUSTED:
            return
        self.refused += 1
        idle = self._longest(sending=False)
        if idle is not None:
            self._evict(idle)
            return
        if self._retry is None:
            _log.warning("cannot accept connections for now: %s", errno.errorcode[error.errno])
        self._stop_accepting()
        self._retry = asyncio.get_running_loop().call_later(_ACCEPT_RETRY_SECONDS, self._start_accepting)

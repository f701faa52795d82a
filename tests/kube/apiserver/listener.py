"""The listening socket: TLS or not, closed and opened again on the same port, frozen."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from aiohttp import web

HOST = "127.0.0.1"
BACKLOG = 128


class Listener:
    """Accepts connections for an aiohttp handler.

    Our own descriptor of the socket stays open while asyncio's is closed, so that a frozen server is
    what the kernel makes of one: TCP connects, and nothing is ever answered.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self._tls = tls
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, runner: web.AppRunner) -> None:
        """Listen on a free port."""
        self._runner = runner
        self._bind()
        await self.thaw()

    def refuse(self) -> None:
        """Close the port: new connections are refused, open ones live on."""
        self.freeze()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def reopen(self) -> None:
        """Listen on the same port again."""
        if self._socket is None:
            self._bind()
        await self.thaw()

    def freeze(self) -> None:
        """Accept no more; the kernel still completes TCP handshakes."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def thaw(self) -> None:
        """Accept again."""
        assert self._runner is not None
        assert self._socket is not None
        if self._server is None:
            loop = asyncio.get_running_loop()
            handler = self._runner.server
            assert handler is not None
            self._server = await loop.create_server(
                handler, sock=self._socket.dup(), ssl=self._tls, backlog=BACKLOG
            )

    def _bind(self) -> None:
        with contextlib.ExitStack() as undo:
            made = undo.enter_context(socket.socket())
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((HOST, self.port))
            made.listen(BACKLOG)
            made.setblocking(False)
            undo.pop_all()
        self._socket, self.port = made, made.getsockname()[1]

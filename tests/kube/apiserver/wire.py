"""The bytes of one answer: headers as the real server sets them, and every way to send a body badly."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import uuid
from collections.abc import Callable, Mapping

from aiohttp import web

from .exchange import Reply
from .watch import End

GZIP_FROM_BYTES = 128 * 1024
# Go's net/http counts the bytes itself up to its buffer's size, and chunks what is longer
CHUNKED_FROM_BYTES = 2048
HARD_CLOSE = struct.pack("ii", 1, 0)


class CutError(Exception):
    """The connection was ended on purpose; nothing more is to be sent."""


class Wire:
    """One request's way back.

    ``limit_bytes`` of the body are sent, then the connection ends as ``cut`` says; ``drip`` is a
    number of bytes per write and the seconds between them.
    """

    def __init__(self, request: web.BaseRequest, awake: asyncio.Event, closing: asyncio.Event) -> None:
        self.request = request
        self.response: web.StreamResponse | None = None
        self.on_begin: Callable[[int], None] = lambda status: None
        self.limit_bytes: int | None = None
        self.cut = End.RESET
        self.drip: tuple[int, float] | None = None
        self._awake = awake
        self._closing = closing

    async def send(self, reply: Reply) -> None:
        """Send a whole answer."""
        body = reply.encoded()
        headers = {"Content-Type": "application/json"} | dict(reply.headers)
        if len(body) >= GZIP_FROM_BYTES and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        await self.begin(reply.status, headers, size=len(body) if len(body) < CHUNKED_FROM_BYTES else None)
        await self.write(body)
        await self.finish(End.CLEAN)

    async def begin(self, status: int, headers: Mapping[str, str], *, size: int | None = None) -> None:
        """Send the head; without a size the body is chunked. An empty value leaves a header out."""
        await self._awake.wait()
        self.on_begin(status)
        common = {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private"}
        sent = {name: value for name, value in (common | dict(headers)).items() if value}
        self.response = web.StreamResponse(status=status, headers=sent)
        if size is None:
            self.response.enable_chunked_encoding()
        else:
            self.response.content_length = size
        try:
            await self.response.prepare(self.request)
        except ConnectionResetError:  # the client did not wait, as after a freeze
            raise CutError from None

    async def write(self, data: bytes) -> None:
        """Send a piece of the body: one chunk, unless it drips.

        Raises:
            CutError: ``limit_bytes`` were sent.
        """
        size, pause_s = self.drip or (len(data) or 1, 0.0)
        for start in range(0, len(data), size):
            await self._write(data[start : start + size])
            if pause_s:
                await self.pause(pause_s)

    async def _write(self, data: bytes) -> None:
        assert self.response is not None
        await self._awake.wait()
        if self.limit_bytes is None:
            await self.response.write(data)
            return
        sent, self.limit_bytes = data[: self.limit_bytes], max(0, self.limit_bytes - len(data))
        if sent:
            await self.response.write(sent)
        if not self.limit_bytes:
            await self.finish(self.cut)
            raise CutError

    async def finish(self, end: End) -> None:
        """End the answer."""
        if end is End.CLEAN and self.response is not None:
            await self._awake.wait()
            await self.response.write_eof()
        else:
            self.drop(reset=end is End.RESET)

    def drop(self, *, reset: bool) -> None:
        """End the connection: what was written is still sent, unless it is reset."""
        transport = self.request.transport
        if transport is None:
            return
        if reset:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HARD_CLOSE)
            transport.abort()
        else:
            transport.close()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server runs."""
        try:
            async with asyncio.timeout(seconds):
                await self.forever()
        except TimeoutError:
            return

    async def forever(self) -> None:
        """Wait until the server stops (or the client leaves, which cancels)."""
        await self._closing.wait()
        raise CutError

    async def result(self) -> web.StreamResponse:
        """What aiohttp wants back from its handler."""
        return self.response or web.Response()

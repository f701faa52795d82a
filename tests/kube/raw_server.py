"""A TCP server that answers with bytes from a script, however wrong, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from oomtracer.config import Cluster
from oomtracer.kube.connection import connect
from oomtracer.kube.server import ApiServer

HOST = "127.0.0.1"
DEADLINE_S = 10.0
LAST_TURN_S = 0.5
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with: bytes, then ``then``: keep, close, reset, or silent (until the end)."""

    data: bytes = b""
    then: str = "keep"


CLOSE = Answer(then="close")
RESET = Answer(then="reset")
SILENCE = Answer(then="silent")


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Answer:
    """A well-formed answer; in the names of headers ``_`` stands for ``-``."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{''.join(lines)}\r\n"
    return Answer(head.encode() + body)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", then: str = "keep", head: str = "") -> Answer:
    """An answer in chunks, with its end or without."""
    pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    start = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n".encode()
    return Answer(start + b"".join(pieces) + end, then)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came. Connections are counted from 0."""

    connection: int
    head: str
    body: bytes

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split("\r\n")[0]

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name."""
        pairs = [line.split(": ", 1) for line in self.head.split("\r\n")[1:] if line]
        return {name.lower(): value for name, value in pairs}


@dataclass(eq=False)
class RawServer:
    """Answers the n-th request of all with the script's n-th answer, and any later one with the last."""

    script: list[Answer] = field(default_factory=lambda: [answer()])
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    async def __aenter__(self) -> Self:
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accepted, HOST, 0, ssl=self.tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    def refuse_connections(self) -> None:
        """Listen no longer; connections that are there go on."""
        self._server.close()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what has been received makes it true. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        task = asyncio.create_task(self._serve(number, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while await self._answer(number, reader, writer):
                    pass
        finally:
            self.open_connections -= 1
            self._changed.set()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        found = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
        body = await reader.readexactly(int(found[1]) if found else 0)
        chosen = self.script[min(len(self.requests), len(self.script) - 1)]
        self.requests.append(Received(number, head.removesuffix("\r\n\r\n"), body))
        self._changed.set()
        writer.write(chosen.data)
        await writer.drain()
        if chosen.then == "silent":
            await reader.read()
        if chosen.then == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()
        return chosen.then == "keep"


def kubeconfig(
    path: Path,
    url: str,
    *,
    user: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> Path:
    """Write one with a single context (JSON is YAML)."""
    sections = {
        "clusters": [{"name": "c", "cluster": {"server": url, **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "secret-token"} if user is None else dict(user)}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps({"current-context": "x", **sections}))
    return path


@asynccontextmanager
async def connected(
    url: str, *, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
) -> AsyncIterator[ApiServer]:
    """Connect with a kubeconfig made for the occasion."""
    with TemporaryDirectory() as folder:
        config = kubeconfig(Path(folder, "config"), url, user=user, cluster=cluster)
        api = await connect(Cluster(kubeconfig=str(config)))
    try:
        yield api
    finally:
        await api.close()


def run(scene: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end and demand that no task, socket or file was left behind (warnings are errors)."""

    async def whole() -> Any:
        result = await scene
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:  # a server's side of a TLS handshake that the client broke off may need another turn
            _, others = await asyncio.wait(others, timeout=LAST_TURN_S)
        assert not others
        return result

    try:
        return asyncio.run(whole())
    finally:
        gc.collect()

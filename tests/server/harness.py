"""Runs one scenario against a real server, and checks that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from oomtracer.server import HttpServer, Limits, Response, Routes, parse_bind_address, probe

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
BIG_BODY = b"m 1\n" * 1_000_000
"""More than the sockets' buffers of both sides hold."""

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Reply:
    """One response as the client saw it; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def run(scenario: Coroutine[object, object, T]) -> T:
    """Run ``scenario`` to its end; afterwards no task, descriptor or error in a callback may remain."""
    before = _descriptors()
    errors: list[dict[str, object]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await scenario
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    result = asyncio.run(watched())
    gc.collect()
    assert errors == []
    assert _descriptors() == before
    return result


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def routes() -> Routes:
    """Return the routes most tests use: a probe, echoed headers, a big body, a bug."""

    def fail(_headers: object) -> Response:
        msg = "a handler's bug"
        raise RuntimeError(msg)

    return {
        "/healthz": probe(lambda: ""),
        "/readyz": probe(lambda: "hooks are not attached"),
        "/metrics": lambda headers: Response(repr(dict(headers)).encode(), "text/x-echo"),
        "/big": lambda _: Response(BIG_BODY),
        "/bug": fail,
    }


def server(limits: Limits | None = None, address: str = "127.0.0.1:0") -> HttpServer:
    """Make a server, not yet listening, on a port of the kernel's choice."""
    return HttpServer(parse_bind_address(address), routes(), limits=limits or Limits())


@asynccontextmanager
async def client(of: HttpServer, host: str = "127.0.0.1") -> AsyncIterator[Client]:
    """Connect to ``of``; the connection is closed at the end, whatever the server did to it."""
    reader, writer = await asyncio.open_connection(host, of.addresses[0].port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def reply(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Reply:
    """Read one response, of whose length only Content-Length tells."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b"" if bodiless else await reader.readexactly(int(headers["content-length"]))
    return Reply(int(status.split()[1]), headers, body)


async def ask(of: HttpServer, request: bytes, *, bodiless: bool = False) -> Reply:
    """Send ``request`` on a connection of its own and read one response."""
    async with client(of) as (reader, writer):
        writer.write(request)
        return await reply(reader, bodiless=bodiless)


async def exchange(of: HttpServer, request: bytes) -> bytes:
    """Send ``request`` on a connection of its own and read until the server closes."""
    async with client(of) as (reader, writer):
        writer.write(request)
        return await reader.read()


async def healthy(of: HttpServer) -> bool:
    """Tell whether a probe on a new connection is answered."""
    return (await ask(of, HEALTH)).status == 200


async def crowded(of: HttpServer, connections: int) -> None:
    """Wait until ``of`` has that many open connections."""
    await until(lambda: of.connections == connections)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until ``condition()`` holds; the scenario's own deadline ends it otherwise."""
    while not condition():  # noqa: ASYNC110  nothing in the server announces these conditions
        await asyncio.sleep(0)  # yields, does not wait


@contextmanager
def fast_clock() -> Iterator[Callable[[], float]]:
    """Let each look at the running loop's clock take a tenth of a second."""
    loop = asyncio.get_running_loop()
    start = now = loop.time()

    def time() -> float:
        nonlocal now
        now += 0.1
        return now

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", time)
        yield lambda: now - start

from __future__ import annotations

import asyncio
import contextlib

import pytest

from oomtracer.kube.api import ApiUnreachableError
from oomtracer.kube.exchange import ERROR_BYTES
from oomtracer.kube.server import ApiServer

from .raw_server import CLOSE, SILENCE, Answer, RawServer, answer, chunked, connected, run

LONG_LINE = b'{"type":"ADDED"}' * 600_000 + b"\n"


async def received(server: RawServer, *, read_timeout_s: float = 5.0) -> tuple[int, bytes, str]:
    """Read one stream to its end: status, bytes, and how it failed, if it did."""
    data = b""
    async with connected(server.url) as api:
        try:
            async with api.stream("/w", query={"watch": "1"}, read_timeout_s=read_timeout_s) as stream:
                async for chunk in stream.chunks():
                    data += chunk
                return stream.status, data, ""
        except ApiUnreachableError as error:
            return 200, data, str(error).partition(": ")[2]


@pytest.mark.parametrize(
    ("given", "data", "failure"),
    [
        (chunked(b"a\n", b"b\nc", b"\n"), b"a\nb\nc\n", ""),
        (chunked(), b"", ""),
        (chunked(LONG_LINE), LONG_LINE, ""),
        (chunked(b"a\n", end=b"", then="close"), b"a\n", "answer cut off"),
        (chunked(b"a\n", end=b"9\r\nb", then="close"), b"a\nb", "answer cut off"),
        (CLOSE, b"", "connection closed without an answer"),
    ],
)
def test_a_stream_is_read_to_its_end(given, data, failure):
    """All bytes come, of lines of any length; only the terminating chunk is a clean end."""

    async def scene():
        async with RawServer([given]) as server:
            return await received(server)

    assert run(scene()) == (200, data, failure)


def test_a_reset_stream_is_cut():
    """A killed server's reset is an end that is told as one."""

    async def scene():
        async with RawServer([chunked(b"a\n", end=b"", then="reset")]) as server:
            return await received(server)

    _, _, failure = run(scene())
    assert failure


@pytest.mark.parametrize(
    "given", [SILENCE, chunked(b"a\n", end=b"", then="silent")], ids=["no head", "no end"]
)
def test_silence_ends_a_stream(given):
    """A stream that is silent for the read timeout is over, before its head or after."""

    async def scene():
        async with RawServer([given]) as server:
            _, data, failure = await received(server, read_timeout_s=0.1)
            await server.until(lambda: server.open_connections == 0)
            return data, failure

    data, failure = run(scene())
    assert data in (b"", b"a\n")
    assert failure == "no answer in 0.1 s"


def test_bytes_arrive_when_they_are_sent():
    """A chunk is handed over while the stream is still open."""

    async def scene() -> bytes:
        async with (
            RawServer([chunked(b"first\n", end=b"", then="silent")]) as server,
            connected(server.url) as api,
            api.stream("/", query={}, read_timeout_s=5) as stream,
        ):
            return await anext(aiter(stream.chunks()))

    assert run(scene()) == b"first\n"


def test_an_error_is_read_whole():
    """Of an answer that is no 200 the body can be had, up to a mebibyte."""

    async def scene():
        long = answer(500, b"x" * (ERROR_BYTES + 1))
        script = [answer(410, b"gone", Retry_After="7"), long]
        async with RawServer(script) as server, connected(server.url) as api:
            async with api.stream("/", query={}, read_timeout_s=5) as stream:
                assert (stream.status, await stream.body()) == (410, b"gone")
                assert stream.headers["retry-after"] == "7"
            async with api.stream("/", query={}, read_timeout_s=5) as stream:
                assert await stream.body() == b"x" * ERROR_BYTES

    run(scene())


def test_an_error_that_trickles_in_has_an_end():
    """The body of an error is waited for no longer than the read timeout, all in all."""
    half = Answer(b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nabc", then="silent")

    async def scene() -> None:
        async with (
            RawServer([half]) as server,
            connected(server.url) as api,
            api.stream("/", query={}, read_timeout_s=0.1) as stream,
        ):
            with pytest.raises(ApiUnreachableError, match=r"no answer in 0\.1 s"):
                await stream.body()

    run(scene())


def test_leaving_a_stream_closes_its_connection():
    """A watch that is given up is closed at once, and its connection not used for anything else."""

    async def scene() -> RawServer:
        endless = chunked(b"a\n", end=b"", then="silent")
        async with RawServer([endless, answer()]) as server, connected(server.url) as api:
            async with api.stream("/", query={}, read_timeout_s=60) as stream:
                await anext(aiter(stream.chunks()))
            await server.until(lambda: server.open_connections == 0)
            await api.request("GET", "/")
        return server

    assert [request.connection for request in run(scene()).requests] == [0, 1]


def test_a_stream_that_ended_gives_its_connection_back():
    """After the clean end of a watch the next one needs no new connection."""

    async def scene() -> RawServer:
        async with RawServer([chunked(b"a\n")]) as server, connected(server.url) as api:
            for _ in range(3):
                async with api.stream("/", query={}, read_timeout_s=5) as stream:
                    assert [chunk async for chunk in stream.chunks()] == [b"a\n"]
        return server

    assert run(scene()).connections == 1


@pytest.mark.parametrize(
    "given", [SILENCE, chunked(b"a\n", end=b"", then="silent")], ids=["no head", "no end"]
)
def test_cancelling_a_stream_leaves_nothing(given):
    """A watcher that is cancelled leaves neither task nor socket."""

    async def scene() -> None:
        async with RawServer([given]) as server:
            task = asyncio.create_task(received(server, read_timeout_s=60))
            await server.until(lambda: server.requests)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await server.until(lambda: server.open_connections == 0)

    run(scene())


def test_an_error_of_the_reader_is_its_own():
    """What the code that reads a stream raises is not taken for the server's fault."""

    async def read(api: ApiServer) -> None:
        async with api.stream("/", query={}, read_timeout_s=5) as stream:
            async for _ in stream.chunks():
                raise ValueError("mine")

    async def scene() -> None:
        async with RawServer([chunked(b"a\n")]) as server, connected(server.url) as api:
            with pytest.raises(ValueError, match="mine"):
                await read(api)

    run(scene())

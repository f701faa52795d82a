"""Arbitrary bytes: no input ends the server or keeps a connection beyond its limits."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from oomtracer.server import HttpServer, Limits

from . import harness

FRAGMENTS = st.sampled_from(
    [
        b"GET ", b"HEAD ", b"POST ", b"/healthz", b"/metrics?a=b", b"/bug", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n",
        b"\r\n", b"\n", b"Host: a\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n",
        b"0\r\n\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: x\r\n", b" folded\r\n", harness.HEALTH,
    ]
)  # fmt: skip
PACKETS = st.lists(
    st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=8).map(b"".join)), max_size=6
)
LIMITS = Limits(header_bytes=500)
LONGEST_SECONDS = LIMITS.header_seconds + LIMITS.idle_seconds + LIMITS.linger_seconds


async def _examine(server: HttpServer, packets: list[bytes]) -> float:
    """Send ``packets``, then let the loop's clock run fast; return the seconds until the server closed."""
    accepted = server.accepted
    async with harness.client(server) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for packet in packets:
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0)
        await harness.until(lambda: server.accepted > accepted)
        with harness.fast_clock() as elapsed:
            await harness.until(lambda: server.connections == 0)
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert await harness.healthy(server)
    await harness.crowded(server, 0)
    return elapsed()


def test_no_bytes_end_the_server_or_outstay_the_limits() -> None:
    """Whatever is sent, the server ends the connection within its limits, and still answers a probe."""
    errors: list[dict[str, object]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: errors.append(context))
        server = harness.server(LIMITS)

        @settings(max_examples=150, deadline=None)
        @given(PACKETS)
        def examine(packets: list[bytes]) -> None:
            assert runner.run(_examine(server, packets)) < LONGEST_SECONDS + 5
            assert errors == []

        runner.run(server.__aenter__())
        try:
            examine()
        finally:
            runner.run(server.aclose())

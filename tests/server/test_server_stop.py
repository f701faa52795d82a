"""Stopping: who still gets an answer, and what is left."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from oomtracer.server import Limits

from . import harness

BIG = b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n"


def test_idle_connections_are_closed_at_once() -> None:
    """Stopping closes silent, kept and half-asked connections without waiting for them."""

    async def scenario() -> None:
        async with harness.server() as server, contextlib.AsyncExitStack() as stack:
            silent, kept, half = [await stack.enter_async_context(harness.client(server)) for _ in range(3)]
            kept[1].write(harness.HEALTH)
            assert (await harness.reply(kept[0])).status == 200
            half[1].write(b"GET /hea")
            await harness.until(lambda: any(one._http.trailing_data[0] for one in server._connections))
            await server.aclose(harness.PATIENCE_SECONDS * 10)
            assert server.connections == 0
            for reader, _ in (silent, kept, half):
                assert await reader.read() == b""

    harness.run(scenario())


def test_a_running_response_is_finished() -> None:
    """A client that is reading its response when the server stops gets all of it, then the end."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            writer.write(BIG * 2)
            await harness.until(lambda: any(one.held_bytes for one in server._connections))
            stop = asyncio.create_task(server.aclose())
            assert (await harness.reply(reader)).body == harness.BIG_BODY
            assert await reader.read() == b""
            writer.close()
            await stop
            assert server.connections == 0

    harness.run(scenario())


def test_the_deadline_ends_a_response_that_is_not_taken() -> None:
    """A client that does not read cannot hold up the stop beyond its deadline."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (_, writer):
            writer.write(BIG * 9)
            await harness.until(lambda: any(one.held_bytes for one in server._connections))
            await server.aclose(0.05)
            assert server.connections == 0

    harness.run(scenario())


def test_a_cancelled_stop_still_closes_everything() -> None:
    """Cancelling the stop closes at once what was given time."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (_, writer):
            writer.write(BIG * 9)
            await harness.until(lambda: any(one.held_bytes for one in server._connections))
            stop = asyncio.create_task(server.aclose(harness.PATIENCE_SECONDS * 10))
            await asyncio.sleep(0)
            stop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stop
            assert server.connections == 0

    harness.run(scenario())


def test_no_client_is_accepted_after_the_stop() -> None:
    """A stopped server refuses connections, and stopping it again does nothing."""

    async def scenario() -> None:
        async with harness.server(Limits()) as server:
            (address,) = server.addresses
            await server.aclose()
            await server.aclose()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(address.host, address.port)

    harness.run(scenario())

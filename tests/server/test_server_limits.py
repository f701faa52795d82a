"""Limits: what no client, and no crowd of clients, can take from the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from oomtracer.server import HttpServer, Limits, Response, parse_bind_address, probe

from . import harness

SOON = 0.05
BIG = b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n"


def _padded(size: int) -> bytes:
    """Return a request whose header block is ``size`` bytes long, the blank line aside."""
    start = b"GET /healthz HTTP/1.1\r\nHost: test\r\nX: "
    return start + b"x" * (size - len(start) - 2) + b"\r\n\r\n"


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("piece", [100, 1_000_000])
def test_a_complete_header_is_limited(extra: int, piece: int) -> None:
    """A header block of just the limit is served, one byte more is 431 and the end, however it is cut."""

    async def scenario() -> None:
        request = _padded(1000 + extra)
        async with (
            harness.server(Limits(header_bytes=1000)) as server,
            harness.client(server) as (reader, writer),
        ):
            for start in range(0, len(request), piece):
                writer.write(request[start : start + piece])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await harness.reply(reader)).status == (431 if extra else 200)
            if extra:
                assert await reader.read() == b""

    harness.run(scenario())


def test_an_endless_header_is_cut_off() -> None:
    """A header that never ends is 431 and the end as soon as it passes the limit."""

    async def scenario() -> None:
        async with harness.server(Limits(header_bytes=1000)) as server:
            answer = await harness.exchange(server, b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000)
            assert answer.startswith(b"HTTP/1.1 431 ")

    harness.run(scenario())


def test_a_silent_client_is_closed() -> None:
    """A client that connects and sends nothing is closed without a word after the header's time."""

    async def scenario() -> None:
        async with harness.server(Limits(header_seconds=SOON)) as server:
            assert await harness.exchange(server, b"") == b""

    harness.run(scenario())


@pytest.mark.parametrize("before", [b"", harness.HEALTH])
def test_a_slow_header_is_cut_off(before: bytes) -> None:
    """A header sent a byte at a time is 408 when its time is over, on a new connection and on a kept one."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            writer.write(before + b"GET / HTTP/1.1\r\nX: ")
            if before:
                assert (await harness.reply(reader)).status == 200
            await harness.until(lambda: any(one._http.trailing_data[0] for one in server._connections))
            answer = asyncio.create_task(reader.read())
            with harness.fast_clock(), contextlib.suppress(ConnectionError):
                while not answer.done():
                    writer.write(b"x")
                    await asyncio.sleep(0)
            assert (await answer).startswith(b"HTTP/1.1 408 ")

    harness.run(scenario())


def test_an_idle_connection_is_closed() -> None:
    """A kept connection is closed after the idle time, which is not the header's."""

    async def scenario() -> None:
        async with (
            harness.server(Limits(idle_seconds=SOON)) as server,
            harness.client(server) as (reader, writer),
        ):
            writer.write(harness.HEALTH)
            assert (await harness.reply(reader)).status == 200
            assert await reader.read() == b""

    harness.run(scenario())


def test_a_lingering_client_is_closed() -> None:
    """A client that does not close after the last response is closed after the linger time."""

    async def scenario() -> None:
        async with (
            harness.server(Limits(linger_seconds=SOON)) as server,
            harness.client(server) as (reader, writer),
        ):
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            await reader.read()
            await harness.until(lambda: server.connections == 0)

    harness.run(scenario())


def test_a_client_that_does_not_read_is_reset() -> None:
    """A response that is not taken in time ends in a reset, and is no longer held."""

    async def scenario() -> None:
        async with harness.server(Limits(send_seconds=SOON)) as server:
            with _deaf(server, BIG * 3) as deaf:
                await harness.until(lambda: server.connections == 1)
                await harness.until(lambda: server.connections == 0)
                with pytest.raises(ConnectionResetError):
                    _read_all(deaf)

    harness.run(scenario())


def _accepted(server: HttpServer, number: int) -> bool:
    return server.accepted == number


def _read_all(client: socket.socket) -> None:
    while client.recv(1 << 20):
        pass


def test_responses_to_slow_readers_are_limited_together() -> None:
    """Responses held for deaf clients stay under a limit: the slowest goes, the newest is served."""

    async def scenario() -> None:
        limits = Limits(unsent_bytes=2 * len(harness.BIG_BODY) + 10_000)
        async with harness.server(limits) as server:
            with contextlib.ExitStack() as stack:
                for number in range(1, 6):
                    stack.enter_context(_deaf(server, BIG))
                    await harness.until(partial(_accepted, server, number))
                    held = [one.held_bytes for one in server._connections]
                    assert sum(held) <= limits.unsent_bytes
                assert (await harness.ask(server, BIG)).body == harness.BIG_BODY
                await harness.until(lambda: server.evicted >= 3)

    harness.run(scenario())


def test_one_response_may_exceed_the_limit_of_all() -> None:
    """A single response bigger than what may be held in all is still served."""

    async def scenario() -> None:
        async with harness.server(Limits(unsent_bytes=1)) as server:
            assert (await harness.ask(server, BIG)).body == harness.BIG_BODY

    harness.run(scenario())


@contextlib.contextmanager
def _deaf(server: HttpServer, request: bytes) -> Iterator[socket.socket]:
    """Connect a client with a small buffer that sends ``request`` and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(harness.PATIENCE_SECONDS)
        client.connect(("127.0.0.1", server.addresses[0].port))
        client.sendall(request)
        yield client


def test_answers_give_the_loop_back() -> None:
    """However many requests come at once, the loop gets its turn when the time for answers is used up."""
    calls: list[int] = []
    turns = 0

    def count(_headers: object) -> Response:
        calls.append(turns)
        return Response(b"")

    async def scenario() -> None:
        nonlocal turns
        request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" * 100
        listening = HttpServer(parse_bind_address("127.0.0.1:0"), {"/": count}, limits=Limits(turn_seconds=0))
        async with listening as server, harness.client(server) as (_, writer):
            writer.write(request)
            while len(calls) < 100:
                turns += 1
                await asyncio.sleep(0)
        assert len(set(calls)) == len(calls)

    harness.run(scenario())


def test_the_longest_waiting_connection_makes_room() -> None:
    """Beyond the limit, a new client is served and the one that has been silent for longest is closed."""

    async def scenario() -> None:
        async with harness.server(Limits(connections=3)) as server, contextlib.AsyncExitStack() as stack:
            crowd = []
            for number in range(1, 4):
                crowd.append(await stack.enter_async_context(harness.client(server)))
                await harness.crowded(server, number)
            oldest_reader, oldest_writer = crowd[0]
            oldest_writer.write(harness.HEALTH)
            await harness.reply(oldest_reader)
            assert await harness.healthy(server)
            assert await crowd[1][0].read() == b""
            assert server.evicted == 1
            oldest_writer.write(harness.HEALTH)
            assert (await harness.reply(oldest_reader)).status == 200

    harness.run(scenario())


def test_a_running_response_is_not_evicted_for_an_idle_one() -> None:
    """Room is made from silent connections before slow readers; with slow readers only, from the slowest."""

    async def scenario() -> None:
        async with harness.server(Limits(connections=2)) as server:
            with _deaf(server, BIG):
                await harness.until(lambda: any(one.held_bytes for one in server._connections))
                assert await harness.healthy(server)
                assert await harness.healthy(server)
                assert any(one.held_bytes for one in server._connections)
                with _deaf(server, BIG):
                    await harness.until(lambda: sum(one.held_bytes > 0 for one in server._connections) == 2)
                    assert await harness.healthy(server)

    harness.run(scenario())


def test_five_hundred_idle_connections_cost_no_thread() -> None:
    """With 500 silent connections a probe is answered, and the process has no more threads than before."""

    async def scenario() -> None:
        threads = threading.active_count()
        async with harness.server() as server:
            where = ("127.0.0.1", server.addresses[0].port)
            with contextlib.ExitStack() as stack:
                for number in range(1, 501):
                    stack.enter_context(socket.create_connection(where))
                    if number % 50 == 0:
                        await harness.crowded(server, number)
                assert await harness.healthy(server)
                assert threading.active_count() == threads
                assert asyncio.all_tasks() == {asyncio.current_task()}
            await harness.until(lambda: server.connections == 0)

    harness.run(scenario())


def test_a_full_house_does_not_starve_a_probe() -> None:
    """With as many clients as allowed, all of them in the middle of a header, every probe is answered."""

    async def scenario() -> None:
        async with harness.server(Limits(connections=50)) as server:
            where = ("127.0.0.1", server.addresses[0].port)
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    for _ in range(50):
                        stack.enter_context(socket.create_connection(where)).sendall(b"GET /")
                    assert await harness.healthy(server)
                assert server.connections <= 50

    harness.run(scenario())


@contextlib.contextmanager
def _no_descriptor_left() -> Iterator[None]:
    """Let the process open no further descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_an_idle_connection_makes_room() -> None:
    """Where the process can open no descriptor, the longest idle connection gives its own to the newcomer."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (idle, _):
            await harness.until(lambda: server.connections == 1)
            with (
                socket.create_connection(("127.0.0.1", server.addresses[0].port)) as newcomer,
                _no_descriptor_left(),
            ):
                assert await idle.read() == b""
                newcomer.sendall(harness.HEALTH)
                await harness.until(lambda: server.accepted == 2)
            assert (server.refused, server.evicted) == (1, 1)

    harness.run(scenario())


def test_without_descriptors_accepting_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing to give back, accepting pauses instead of spinning, says so once, and goes on later."""
    monkeypatch.setattr("oomtracer.server.http_server._ACCEPT_RETRY_SECONDS", SOON)

    async def scenario() -> None:
        async with harness.server() as server:
            with socket.create_connection(("127.0.0.1", server.addresses[0].port)):
                with _no_descriptor_left():
                    await harness.until(lambda: server.refused == 1)
                    for _ in range(100):
                        await asyncio.sleep(0)
                    assert server.refused < 50
                    await harness.until(lambda: server.refused >= 3)
                await harness.until(lambda: server.connections == 1)
            assert await harness.healthy(server)

    harness.run(scenario())
    assert [record.getMessage() for record in caplog.records] == ["cannot accept connections for now: EMFILE"]


def test_an_exhausted_server_stops_cleanly() -> None:
    """Stopping while accepting is paused leaves nothing that would start it again."""

    async def scenario() -> None:
        async with harness.server() as server:
            with socket.create_connection(("127.0.0.1", server.addresses[0].port)), _no_descriptor_left():
                await harness.until(lambda: server.refused == 1)
                await server.aclose()

    harness.run(scenario())


def test_a_probe_tells_what_is_wrong_now() -> None:
    """A probe's answer follows its fault: none is 200, a text is 503 with it."""
    faults = [""]
    handler = probe(lambda: faults[0])
    assert handler({}) == Response(b"ok\n")
    faults[0] = "journal is not writable"
    assert handler({}) == Response(b"journal is not writable\n", status=503)

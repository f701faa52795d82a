"""The fake API server's scripted faults are on the wire what they are called."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.kube.apiserver import (
    Answer,
    Drip,
    End,
    FakeApiServer,
    Hang,
    Late,
    Refused,
    Stream,
    Truncated,
    make_pod,
    overloaded,
    storage_initializing,
)
from tests.kube.apiserver.client import LIST, Client, event, server_and_client
from tests.kube.apiserver.watch import bookmark_times

SILENCE_S = 0.05
DEADLINE_S = 5.0


def run(test: Callable[[FakeApiServer, Client], Awaitable[None]], **arguments: object) -> None:
    """Run a test against a server of its own, which has one pod at resourceVersion 201."""

    async def whole() -> None:
        async with server_and_client(**arguments) as (api, client):
            api.add_pod(make_pod("web-0"))
            async with asyncio.timeout(DEADLINE_S):
                await test(api, client)

    asyncio.run(whole())


async def is_silent(waited_for: Awaitable[Any], seconds: float = SILENCE_S) -> bool:
    """Whether nothing comes for a while."""
    try:
        await asyncio.wait_for(waited_for, seconds)
    except TimeoutError:
        return True
    return False


# ---------------------------------------------------------------------------------------- which requests


def test_a_fault_meets_what_it_matches_as_often_as_it_says() -> None:
    """Method, path, watch, condition, the number to skip and the number to hit all count."""

    async def test(api: FakeApiServer, client: Client) -> None:
        fault = api.fail(503, method="PATCH", path="/web-0", skip=1, times=1)
        statuses = [
            (await client.patch("demo/web-0", {"annotations": {"a": str(n)}})).status for n in range(3)
        ]
        assert statuses == [200, 503, 200]
        assert fault.hits == 1
        api.fail(500, watch=True)
        assert (await client.ask("GET", LIST)).status == 200
        assert (await client.ask("GET", "/api/v1/pods?watch=true")).status == 500
        api.fail(409, when=lambda request: request.body != b"")
        assert (await client.patch("demo/web-0", {})).status == 409

    run(test)


def test_a_removed_fault_is_over() -> None:
    """The newest of several faults wins; without it the next one does, and healed, none."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(500)
        newest = api.fail(503)
        assert (await client.ask("GET", LIST)).status == 503
        newest.remove()
        assert (await client.ask("GET", LIST)).status == 500
        api.heal()
        assert (await client.ask("GET", LIST)).status == 200

    run(test)


# --------------------------------------------------------------------------------------------- answers


def test_an_answer_is_sent_as_given() -> None:
    """Text, JSON, headers and delay; the request has no effect."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(overloaded(7), times=1)
        api.fail(Answer(502, b"<html>", {"Content-Type": "text/html"}, delay_s=0.01), times=1)
        html = await client.patch("demo/web-0", {"annotations": {"a": "1"}})
        assert (html.status, html.headers["Content-Type"], html.text) == (502, "text/html", "<html>")
        busy = await client.patch("demo/web-0", {"annotations": {"a": "1"}})
        assert (busy.status, busy.headers["Retry-After"]) == (429, "7")
        assert busy.text.startswith("Too many requests")
        api.fail(storage_initializing())
        assert (await client.ask("GET", LIST)).json["details"] == {"retryAfterSeconds": 1}
        assert "annotations" not in api.pod("demo", "web-0")["metadata"]

    run(test)


@pytest.mark.parametrize("end", [End.RESET, End.CUT])
def test_a_refused_request_has_no_effect(end: End) -> None:
    """The connection ends before any byte of an answer."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(Refused(end))
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await client.patch("demo/web-0", {"annotations": {"a": "1"}})
        assert "annotations" not in api.pod("demo", "web-0")["metadata"]
        assert {request.status for request in api.requests} == {None}

    run(test)


@pytest.mark.parametrize("after_bytes", [0, 100])
@pytest.mark.parametrize("end", [End.RESET, End.CUT])
def test_a_truncated_answer_is_of_a_request_that_had_its_effect(after_bytes: int, end: End) -> None:
    """The client cannot know, and the server has done it."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(Truncated(after_bytes, end), times=1)
        with pytest.raises(aiohttp.ClientError):
            await client.patch("demo/web-0", {"annotations": {"a": "1"}})
        assert api.pod("demo", "web-0")["metadata"]["annotations"] == {"a": "1"}
        assert (await client.ask("GET", LIST)).status == 200

    run(test)


def test_a_late_request_takes_effect_late() -> None:
    """The real answer follows the wait."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(Late(0.2), method="PATCH")
        patching = asyncio.ensure_future(client.patch("demo/web-0", {"annotations": {"a": "1"}}))
        await api.until(lambda: api.requests)
        assert "annotations" not in api.pod("demo", "web-0")["metadata"]
        assert (await patching).status == 200

    run(test)


def test_a_hanging_request_gets_no_head() -> None:
    """Silence, and the server still stops at once."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(Hang())
        assert await is_silent(client.ask("GET", LIST))
        assert api.requests[0].status is None

    run(test)


def test_a_dripping_answer_is_whole_in_the_end() -> None:
    """The body comes in small pieces."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(Drip(1000, 0.001))
        assert len((await client.ask("GET", LIST)).json["items"]) == 1

    run(test)


# ------------------------------------------------------------------------------------------- streams


def test_a_scripted_stream_is_sent_piece_by_piece() -> None:
    """Text, half a line and garbage in a 200 watch, with each kind of end."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.fail(Stream([b"Too many", b" requests\n"], content_type="text/plain"), times=1)
        async with client.watch() as stream:
            assert await stream.read() == b"Too many requests\n"
        api.fail(Stream([b'{"type":'], end=End.CUT), times=1)
        async with client.watch() as stream:
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.read()
        api.fail(Stream([b"x\n"], end=None), times=1)
        async with client.watch() as stream:
            assert await stream.readline() == b"x\n"
            assert await is_silent(stream.readline())

    run(test)


def test_raw_bytes_go_into_open_watches() -> None:
    """Garbage, and a line of several megabytes, between real events."""

    async def test(api: FakeApiServer, client: Client) -> None:
        async with client.watch() as stream:
            await event(stream)
            api.send_raw(b"garbage\n")
            api.send_raw(b"x" * 3_000_000 + b"\n")
            api.change_pod("demo", "web-0", lambda pod: pod["metadata"].update(labels={}))
            assert await stream.readline() == b"garbage\n"
            size = 0
            while not (piece := await stream.readany()).endswith(b"\n"):
                size += len(piece)
            assert size + len(piece) >= 3_000_001

    run(test)


@pytest.mark.parametrize("end", list(End))
def test_watches_end_in_each_way(end: End) -> None:
    """A clean end is told from a cut one and from a reset; what was queued comes first."""

    async def test(api: FakeApiServer, client: Client) -> None:
        async with client.watch() as stream:
            await event(stream)
            api.change_pod("demo", "web-0", lambda pod: pod["metadata"].update(labels={}))
            if end is not End.RESET:
                api.end_watches(end)
                assert (await event(stream))[0] == "MODIFIED"
            api.end_watches(end)
            with contextlib.nullcontext() if end is End.CLEAN else pytest.raises(aiohttp.ClientError):
                assert await stream.read() == b""
        await api.until(lambda: not api.watches)

    run(test)


def test_bookmarks_come_on_time_or_not_at_all() -> None:
    """Every interval and two seconds before the end; silenced, none; and only where there is news."""
    assert list(bookmark_times(150.0, 60.0)) == [60.0, 120.0, 148.0]
    assert list(bookmark_times(1.0, 60.0)) == []

    async def test(api: FakeApiServer, client: Client) -> None:
        async with client.watch("&allowWatchBookmarks=true&resourceVersion=201") as stream:
            api.send_bookmark()
            api.sends_bookmarks = False
            api.add_pod(make_pod("web-1"))
            api.send_bookmark()
            api.sends_bookmarks = True
            api.send_bookmark()
            assert (await event(stream))[0] == "ADDED"
            kind, bookmark = await event(stream)
            assert (kind, bookmark["metadata"]) == ("BOOKMARK", {"resourceVersion": "202"})

    run(test)


# ------------------------------------------------------------------------------------------ the server


def test_expired_versions_are_told_in_the_stream() -> None:
    """After a compaction, a watch from any version of before is one ERROR; a list brings it back."""

    async def test(api: FakeApiServer, client: Client) -> None:
        version = (await client.ask("GET", LIST)).json["metadata"]["resourceVersion"]
        api.expire()
        async with client.watch(f"&resourceVersion={version}") as stream:
            kind, status = await event(stream)
            assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
            assert await stream.read() == b""
        version = (await client.ask("GET", LIST)).json["metadata"]["resourceVersion"]
        async with client.watch(f"&resourceVersion={version}") as stream:
            api.add_pod(make_pod("web-1"))
            assert (await event(stream))[0] == "ADDED"

    run(test)


def test_a_restart_cuts_watches_or_leaves_them_delivering() -> None:
    """Both happen to real servers; the old versions are expired in both cases."""

    async def test(api: FakeApiServer, client: Client) -> None:
        async with client.watch() as stream:
            await event(stream)
            api.restart(None)
            api.add_pod(make_pod("web-1"))
            assert (await event(stream))[0] == "ADDED"
            api.restart()
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.read()
        async with client.watch("&resourceVersion=201") as stream:
            assert (await event(stream))[0] == "ERROR"

    run(test)


def test_a_restored_store_hides_changes_from_old_watches() -> None:
    """Versions go back: a watch from a later one sees nothing until they are passed, a list is 504."""

    async def test(api: FakeApiServer, client: Client) -> None:
        for number in range(10):
            api.add_pod(make_pod(f"more-{number}"))
        api.rewind(5)
        async with client.watch("&resourceVersion=211") as stream:
            for number in range(5):
                api.update_pod(make_pod("web-0", labels={"n": str(number)}))
            assert await is_silent(stream.readline())
            api.change_pod("demo", "web-0", lambda pod: pod["metadata"].update(labels={"n": "seen"}))
            assert (await event(stream))[1]["metadata"]["labels"] == {"n": "seen"}
        future = await client.ask("GET", "/api/v1/pods?resourceVersion=999")
        assert (future.status, future.headers["Retry-After"]) == (504, "1")

    run(test, second_s=0.001)


def test_a_list_of_the_future_waits_before_it_gives_up() -> None:
    """The real server hopes for three seconds that the version comes."""

    async def test(_api: FakeApiServer, client: Client) -> None:
        assert await is_silent(client.ask("GET", "/api/v1/pods?resourceVersion=999"))

    run(test)


@pytest.mark.parametrize("tls", [False, True])
def test_a_frozen_server_takes_connections_and_says_nothing(tls: bool) -> None:  # noqa: FBT001
    """TCP connects, TLS and requests hang, open watches fall silent; thawed, all of it goes on."""

    async def test(api: FakeApiServer, client: Client) -> None:
        async with client.watch() as stream:
            await event(stream)
            api.freeze()
            api.add_pod(make_pod("web-1"))
            assert await is_silent(stream.readline())
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            assert await is_silent(client.ask("GET", LIST))
            writer.close()
            await api.thaw()
            assert (await event(stream))[0] == "ADDED"
            assert (await client.ask("GET", LIST)).status == 200
        assert await reader.read() == b""

    if not tls:
        run(test)
        return

    async def whole() -> None:
        async with FakeApiServer(tls=True) as api:
            api.freeze()
            # long enough for a handshake, which would end in a refused certificate
            assert await is_silent(asyncio.open_connection("127.0.0.1", api.port, ssl=True), 0.5)

    asyncio.run(whole())


def test_a_refusing_server_keeps_its_open_watches() -> None:
    """The port is closed, open watches go on delivering; the same port opens again."""

    async def test(api: FakeApiServer, client: Client) -> None:
        async with client.watch() as stream:
            await event(stream)
            port = api.port
            api.refuse()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            api.add_pod(make_pod("web-1"))
            assert (await event(stream))[0] == "ADDED"
            api.drop_connections()
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.read()
        await api.reopen()
        assert api.port == port
        assert len(json.loads((await client.ask("GET", LIST)).text)["items"]) == 2

    run(test)

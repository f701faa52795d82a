from __future__ import annotations

import asyncio
import socket

import pytest

from oomtracer.kube import transport
from oomtracer.kube.api import ApiUnreachableError

from .raw_server import CLOSE, HOST, RESET, SILENCE, Answer, RawServer, answer, chunked, connected, run

CONTENT_TOO_SHORT = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", then="close")
BAD_GZIP = answer(200, b"this is no gzip", Content_Encoding="gzip")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        port: int = one.getsockname()[1]
    return port


def reason(error: ApiUnreachableError) -> str:
    """What the message says beside the address, which it always begins with."""
    where, _, text = str(error).partition(": ")
    assert where.startswith(HOST)
    return text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (CLOSE, "connection closed without an answer"),
        (RESET, "connection reset by peer"),
        (Answer(b"HTTP/1.1 200 OK\r\nContent-Le", then="close"), "connection closed without an answer"),
        (Answer(b"SSH-2.0-OpenSSH_9.2\r\n", then="close"), "answer is no HTTP"),
        (CONTENT_TOO_SHORT, "answer cut off"),
        (chunked(b"abc", end=b"", then="close"), "answer cut off"),
        (chunked(b"abc", end=b"5\r\nde", then="close"), "answer cut off"),
        (chunked(b"abc", end=b"zz\r\n", then="close"), "answer is no HTTP"),
        (BAD_GZIP, "answer cut off"),
    ],
)
def test_no_answer_or_half_of_one(fault, said):
    """Whatever is less than a whole answer is an error that says which, and is not tried again."""

    async def scene() -> None:
        async with RawServer([fault]) as server, connected(server.url) as api:
            with pytest.raises(ApiUnreachableError) as caught:
                await api.request("GET", "/")
            assert reason(caught.value) == said
            assert len(server.requests) == 1

    run(scene())


def test_a_port_where_nobody_listens():
    """A refused connection is told as such, with host and port."""
    port = free_port()

    async def scene() -> str:
        async with connected(f"http://{HOST}:{port}") as api:
            with pytest.raises(ApiUnreachableError) as caught:
                await api.request("GET", "/")
        assert not caught.value.was_sent
        return str(caught.value)

    assert run(scene()) == f"{HOST}:{port}: connection refused"


def test_what_may_have_been_sent_stays_in_doubt():
    """A request heard on a kept connection is not unsent because no other connection can be made."""

    async def scene() -> None:
        async with RawServer([answer(), CLOSE]) as server, connected(server.url) as api:
            await api.request("GET", "/")
            server.refuse_connections()
            with pytest.raises(ApiUnreachableError) as caught:
                await api.request("PATCH", "/", body=b"{}")
            assert len(server.requests) == 2
        assert (reason(caught.value), caught.value.was_sent) == ("connection refused", True)

    run(scene())


def test_a_name_that_nobody_knows(monkeypatch):
    """A host name that cannot be looked up is told as such."""

    def unknown(*_args: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def scene() -> str:
        async with connected("https://cluster.invalid:6443") as api:
            with pytest.raises(ApiUnreachableError) as caught:
                await api.request("GET", "/")
        assert not caught.value.was_sent
        return str(caught.value)

    assert run(scene()) == "cluster.invalid:6443: name is not known"


@pytest.mark.parametrize(
    "fault",
    [SILENCE, Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", then="silent")],
    ids=["before the head", "in the body"],
)
def test_silence_ends_with_the_requests_time(fault):
    """A request takes no longer than it may, wherever the server stops; its connection is closed."""

    async def scene() -> None:
        async with RawServer([fault, answer()]) as server, connected(server.url) as api:
            with pytest.raises(ApiUnreachableError) as caught:
                await api.request("GET", "/", timeout_s=0.05)
            assert (reason(caught.value), caught.value.was_sent) == ("no answer in 0.05 s", True)
            await server.until(lambda: server.open_connections == 0)
            assert (await api.request("GET", "/")).status == 200

    run(scene())


@pytest.mark.parametrize("scheme", ["https", "proxied"])
def test_a_connection_that_is_never_made(monkeypatch, scheme):
    """A frozen server takes TCP connections and says nothing; TLS, or a proxy, is waited for 5 s at most."""
    assert transport.CONNECT_S == 5
    monkeypatch.setattr(transport, "CONNECT_S", 0.05)

    async def scene() -> str:
        frozen = socket.create_server((HOST, 0))
        try:
            port = frozen.getsockname()[1]
            cluster = {"proxy-url": f"http://{HOST}:{port}"} if scheme == "proxied" else {}
            async with connected(f"https://{HOST}:{port}", cluster=cluster) as api:
                with pytest.raises(ApiUnreachableError) as caught:
                    await api.request("GET", "/")
        finally:
            frozen.close()
        assert not caught.value.was_sent
        return reason(caught.value)

    assert run(scene()) == "no connection in 5 s"


def test_a_proxy_that_refuses():
    """A proxy's refusal is told from the API server's; its password is not told."""

    async def scene() -> str:
        async with RawServer([answer(407, b"")]) as proxy:
            cluster = {"proxy-url": f"http://user:hidden@{HOST}:{proxy.port}"}
            async with connected(f"https://{HOST}:1", cluster=cluster) as api:
                with pytest.raises(ApiUnreachableError) as caught:
                    await api.request("GET", "/")
        assert caught.value.__cause__ is None
        assert not caught.value.was_sent
        return str(caught.value)

    assert run(scene()) == f"{HOST}:1: proxy answered 407"


def test_cancelling_a_request_closes_its_connection():
    """Who is cancelled leaves neither task nor socket."""

    async def scene() -> None:
        async with RawServer([SILENCE]) as server, connected(server.url) as api:
            task = asyncio.create_task(api.request("GET", "/"))
            await server.until(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.until(lambda: server.open_connections == 0)

    run(scene())


def test_closing_ends_requests_under_way():
    """Close makes what is waiting for an answer fail, in its own words."""

    async def scene() -> None:
        async with RawServer([SILENCE]) as server, connected(server.url) as api:
            task = asyncio.create_task(api.request("GET", "/"))
            await server.until(lambda: server.requests)
            await api.close()
            with pytest.raises(ApiUnreachableError):
                await task

    run(scene())

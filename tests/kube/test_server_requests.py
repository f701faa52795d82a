from __future__ import annotations

import asyncio
import gzip
import socket

import pytest

from oomtracer import __version__
from oomtracer.kube import server as server_module
from oomtracer.kube.api import MERGE_PATCH, ApiUnreachableError
from oomtracer.kube.exchange import ERROR_BYTES

from .raw_server import CLOSE, Answer, RawServer, answer, chunked, connected, run


def test_a_get_as_it_is_on_the_wire():
    """The path stays as the caller quoted it, values of the query are encoded, and no header is too many."""

    async def scene() -> tuple[RawServer, str]:
        async with RawServer() as server, connected(server.url) as api:
            query = {"fieldSelector": "spec.nodeName=node a/b&c", "resourceVersion": "0"}
            await api.request("GET", "/api/v1/namespaces/a%2Fb/pods", query=query)
        return server, f"Host: {server.url.removeprefix('http://')}"

    server, host = run(scene())
    target = "/api/v1/namespaces/a%2Fb/pods?fieldSelector=spec.nodeName%3Dnode%20a%2Fb%26c&resourceVersion=0"
    assert server.requests[0].head.split("\r\n") == [
        f"GET {target} HTTP/1.1",
        host,
        "Accept: application/json",
        "Accept-Encoding: gzip",
        f"User-Agent: oomtracer/{__version__}",
        "Authorization: Bearer secret-token",
    ]
    assert server.requests[0].body == b""


def test_a_patch_as_it_is_on_the_wire():
    """The body is sent as given, with the content type that the caller chose."""

    async def scene() -> RawServer:
        async with RawServer() as server, connected(server.url) as api:
            await api.request("PATCH", "/p", body=b'{ "a":  1 }', content_type=MERGE_PATCH)
        return server

    received = run(scene()).requests[0]
    assert received.line == "PATCH /p HTTP/1.1"
    assert received.headers["content-type"] == "application/merge-patch+json"
    assert received.headers["content-length"] == "11"
    assert received.body == b'{ "a":  1 }'


def test_the_servers_own_path_comes_first():
    """An API server behind a gateway has an address with a path."""

    async def scene() -> RawServer:
        async with RawServer() as server, connected(f"{server.url}/k8s/clusters/c-1/") as api:
            await api.request("GET", "/api/v1/pods")
        return server

    assert run(scene()).requests[0].line == "GET /k8s/clusters/c-1/api/v1/pods HTTP/1.1"


@pytest.mark.parametrize(
    ("given", "status", "body"),
    [
        (answer(200, b"hello"), 200, b"hello"),
        (answer(201, b""), 201, b""),
        (answer(409, b"conflict"), 409, b"conflict"),
        (chunked(b"a", b"bc"), 200, b"abc"),
        (answer(200, gzip.compress(b"x" * 100_000), Content_Encoding="gzip"), 200, b"x" * 100_000),
        (answer(302, b"", Location="http://127.0.0.1:1/"), 302, b""),
    ],
)
def test_answers(given, status, body):
    """Every status is an answer, gzip is undone, redirects are not followed."""

    async def scene():
        async with RawServer([given]) as server, connected(server.url) as api:
            response = await api.request("GET", "/")
            assert len(server.requests) == 1
            return response

    response = run(scene())
    assert (response.status, response.body) == (status, body)
    assert all(name == name.lower() for name in response.headers)


def test_an_error_is_read_to_one_mebibyte():
    """The rest of a long error is left out; what has been read is the answer."""

    async def scene():
        async with RawServer([answer(500, b"x" * (ERROR_BYTES + 1))]) as server, connected(server.url) as api:
            return await api.request("GET", "/")

    assert run(scene()).body == b"x" * ERROR_BYTES


def test_a_list_may_not_be_endless(monkeypatch):
    """Half a list is worth nothing: beyond the limit there is no answer."""
    monkeypatch.setattr(server_module, "BODY_BYTES", 1_000)

    async def scene():
        script = [answer(200, b"x" * 1_000), answer(200, b"x" * 1_001)]
        async with RawServer(script) as server, connected(server.url) as api:
            assert len((await api.request("GET", "/")).body) == 1_000
            with pytest.raises(ApiUnreachableError, match="answer too long"):
                await api.request("GET", "/")

    run(scene())


def test_a_kept_connection_is_used_again():
    """Requests one after the other share a connection."""

    async def scene() -> RawServer:
        script = [answer(), answer(404), chunked(b"x"), answer()]
        async with RawServer(script) as server, connected(server.url) as api:
            for _ in range(4):
                await api.request("GET", "/")
        return server

    assert [received.connection for received in run(scene()).requests] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("method", "repeatable", "is_repeated"),
    [
        ("GET", None, True),
        ("PATCH", None, True),
        ("POST", None, False),
        ("POST", True, True),
        ("PATCH", False, False),
    ],
)
def test_a_kept_connection_that_was_closed_costs_nothing(method, repeatable, is_repeated):
    """What may be sent twice is sent again on a new connection; a POST only if the caller says so."""

    async def scene() -> RawServer:
        async with RawServer([answer(), CLOSE, answer(200, b"late")]) as server, connected(server.url) as api:
            await api.request("GET", "/")
            request = api.request(method, "/", body=b"{}", repeatable=repeatable)
            if is_repeated:
                assert (await request).body == b"late"
            else:
                with pytest.raises(ApiUnreachableError, match="closed without an answer"):
                    await request
        return server

    connections = [received.connection for received in run(scene()).requests]
    assert connections == ([0, 0, 1] if is_repeated else [0, 0])


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT"])
def test_a_new_connection_that_is_closed_is_not_tried_again(method):
    """A server that hangs up on everybody sees each request once: trying again is the caller's decision."""

    async def scene() -> RawServer:
        async with RawServer([CLOSE]) as server, connected(server.url) as api:
            with pytest.raises(ApiUnreachableError, match="closed without an answer"):
                await api.request(method, "/")
        return server

    assert len(run(scene()).requests) == 1


def test_all_kept_connections_closed_at_once():
    """After a server's restart a request takes as many stale connections as there are, and then a new one."""

    async def scene() -> RawServer:
        script = [answer()] * 3 + [CLOSE] * 3 + [answer(200, b"new")]
        async with RawServer(script) as server, connected(server.url) as api:
            await asyncio.gather(*[api.request("GET", "/") for _ in range(3)])
            assert server.connections == 3
            assert (await api.request("PATCH", "/", body=b"{}")).body == b"new"
        return server

    assert run(scene()).requests[-1].connection == 3


def test_proxies_and_passwords_of_the_environment_are_ignored(monkeypatch, tmp_path):
    """An agent's requests go where its configuration says, with that configuration's credentials."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def scene() -> RawServer:
        async with RawServer() as server, connected(server.url, user={}) as api:
            await api.request("GET", "/")
        return server

    assert "authorization" not in run(scene()).requests[0].headers


def test_the_kubeconfigs_proxy_is_used():
    """``proxy-url`` is honoured, with the password in it."""

    async def scene() -> RawServer:
        async with RawServer() as proxy:
            address = f"http://user:pass@127.0.0.1:{proxy.port}"
            async with connected("http://cluster.invalid:8080", cluster={"proxy-url": address}) as api:
                await api.request("GET", "/version")
        return proxy

    received = run(scene()).requests[0]
    assert received.line == "GET http://cluster.invalid:8080/version HTTP/1.1"
    assert received.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert received.headers["authorization"] == "Bearer secret-token"


def test_many_stuck_requests_block_nobody():
    """With forty requests that get no answer, another one passes."""

    async def scene() -> None:
        silence = Answer(then="silent")
        async with RawServer([silence] * 40 + [answer()]) as server, connected(server.url) as api:
            stuck = [api.stream("/", query={}, read_timeout_s=60).__aenter__() for _ in range(40)]
            tasks = [asyncio.create_task(one) for one in stuck]
            await server.until(lambda: len(server.requests) == 40)
            assert (await api.request("GET", "/")).status == 200
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(scene())


def test_idle_connections_are_forgotten_in_time():
    """A connection kept for longer than a minute may be half-open; it is not used again."""

    async def scene() -> None:
        async with RawServer() as server, connected(server.url) as api:
            assert api._transport._session.connector._keepalive_timeout <= 60

    run(scene())


def test_the_kernel_watches_over_streams():
    """A stream's connection has TCP keepalive on, and gives up on a silent peer within about a minute."""

    async def scene() -> list[int]:
        endless = chunked(b"x", end=b"", then="silent")
        async with (
            RawServer([endless]) as server,
            connected(server.url) as api,
            api.stream("/", query={}, read_timeout_s=5) as stream,
        ):
            one = stream.response.connection.transport.get_extra_info("socket")
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            return [one.getsockopt(socket.IPPROTO_TCP, option) for option in options]

    idle_s, interval_s, count = run(scene())
    assert idle_s + interval_s * count <= 70


def test_after_close_nothing_is_sent():
    """A request after close is an error of its kind, and close may be repeated."""

    async def scene() -> RawServer:
        async with RawServer() as server, connected(server.url) as api:
            await api.request("GET", "/")
            await api.close()
            with pytest.raises(ApiUnreachableError, match="connection is closed"):
                await api.request("GET", "/")
        return server

    assert len(run(scene()).requests) == 1


def test_a_long_answer_to_a_write_is_not_kept(monkeypatch):
    """One object comes back; what is longer than any may not cost the agent its memory."""
    monkeypatch.setattr(server_module, "WRITTEN_BYTES", 1_000)

    async def scene() -> None:
        async with RawServer([answer(200, b"x" * 1_001)]) as server, connected(server.url) as api:
            with pytest.raises(ApiUnreachableError):
                await api.request("PATCH", "/x", body=b"{}")

    run(scene())

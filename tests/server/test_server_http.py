"""HTTP: what is answered to which request, and when the connection goes on."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket

import pytest

from oomtracer.server import Response
from oomtracer.server.routes import Router

from . import harness


def _request(line: str, *headers: str) -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", "Host: test", *headers, "", "")).encode("latin-1")


def _ask(request: bytes, *, bodiless: bool = False) -> harness.Reply:
    async def scenario() -> harness.Reply:
        async with harness.server() as server:
            return await harness.ask(server, request, bodiless=bodiless)

    return harness.run(scenario())


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/healthz", 200, b"ok\n"),
        ("/healthz?verbose=1", 200, b"ok\n"),
        ("http://anywhere:1/healthz?x", 200, b"ok\n"),
        ("/readyz", 503, b"hooks are not attached\n"),
        ("/", 404, b"404 Not Found\n"),
        ("/healthz/", 404, b"404 Not Found\n"),
        ("//healthz", 404, b"404 Not Found\n"),
        ("healthz", 404, b"404 Not Found\n"),
        ("http://anywhere", 404, b"404 Not Found\n"),
        ("*", 404, b"404 Not Found\n"),
        ("/bug", 500, b"500 Internal Server Error\n"),
    ],
)
def test_a_path_is_answered_by_its_handler(target: str, status: int, body: bytes) -> None:
    """The path alone, without query, scheme and host, chooses the handler; another one is 404."""
    reply = _ask(_request(f"GET {target}"))
    assert (reply.status, reply.body) == (status, body)


@pytest.mark.parametrize("target", ["/healthz", "/metrics", "/none", "/bug"])
def test_every_response_is_framed_and_not_to_be_stored(target: str) -> None:
    """Every response tells its length and type, and forbids storing it and guessing its type."""
    headers = _ask(_request(f"GET {target}")).headers
    assert headers["content-length"]
    assert headers["content-type"] == ("text/x-echo" if target == "/metrics" else "text/plain; charset=utf-8")
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_handler_gets_the_headers() -> None:
    """A handler sees the request's headers, names in lower case, repeated ones joined."""
    body = _ask(_request("GET /metrics", "ACCEPT: a/b", "accept: c/d;q=0.5")).body
    assert body == b"{'host': 'test', 'accept': 'a/b, c/d;q=0.5'}"


def test_head_is_get_without_the_body() -> None:
    """HEAD gets the headers of GET, no body, and the connection goes on."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            writer.write(_request("HEAD /healthz") + _request("GET /healthz"))
            head = await harness.reply(reader, bodiless=True)
            get = await harness.reply(reader)
            assert (head.status, head.headers) == (get.status, get.headers)
            assert get.body == b"ok\n"

    harness.run(scenario())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE", "get"])
def test_other_methods_are_refused(method: str) -> None:
    """A method other than GET and HEAD is 405, says what is allowed, and reaches no handler."""
    reply = _ask(_request(f"{method} /bug"))
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "request_", [_request("CONNECT other:443"), _request("GET /healthz", "Upgrade: h2c")]
)
def test_no_other_protocol_is_spoken(request_: bytes) -> None:
    """An offer to switch protocols is passed over, and HTTP goes on."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            writer.write(request_ + harness.HEALTH)
            assert (await harness.reply(reader)).status in (200, 404)
            assert (await harness.reply(reader)).status == 200

    harness.run(scenario())


def test_a_connection_is_kept_for_the_next_request() -> None:
    """A common client sends several requests over one connection."""

    def client(port: int) -> list[tuple[int, bytes]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE_SECONDS)
        answers = []
        local = set()
        for path in ("/healthz", "/none", "/readyz", "/big"):
            connection.request("GET", path)
            response = connection.getresponse()
            answers.append((response.status, response.read()))
            local.add(connection.sock.getsockname())
        connection.close()
        assert len(local) == 1
        return answers

    async def scenario() -> None:
        async with harness.server() as server:
            answers = await asyncio.to_thread(client, server.addresses[0].port)
            assert [status for status, _ in answers] == [200, 404, 503, 200]
            assert answers[-1][1] == harness.BIG_BODY

    harness.run(scenario())


def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are all answered, in order, also after the client ended its side."""
    targets = ["/healthz", "/none", "/big", "/readyz"] * 5

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            writer.write(b"".join(_request(f"GET {target}") for target in targets))
            writer.write_eof()
            replies = [await harness.reply(reader) for _ in targets]
            assert [reply.status for reply in replies] == [200, 404, 200, 503] * 5
            assert replies[2].body == harness.BIG_BODY
            assert await reader.read() == b""

    harness.run(scenario())


def test_a_request_may_come_in_any_pieces() -> None:
    """A request that arrives a byte at a time is answered like any other."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            for byte in harness.HEALTH * 2:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert (await harness.reply(reader)).status == 200
            assert (await harness.reply(reader)).status == 200

    harness.run(scenario())


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        _request("GET /healthz", "Connection: close"),
        _request("GET /healthz", "Content-Length: 5") + b"hello",
        _request("GET /healthz", "Content-Length: 100000") + b"x" * 100_000,
        _request("GET /healthz", "Content-Length: 5", "Expect: 100-continue"),
        _request("GET /healthz", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_the_last_response_ends_the_connection(request_: bytes) -> None:
    """HTTP/1.0, ``Connection: close`` and a request body: one full answer that says so, then the end."""

    async def scenario() -> None:
        async with harness.server() as server:
            answer = await harness.exchange(server, request_)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nConnection: close\r\n" in answer
            assert answer.count(b"HTTP/1.1 ") == 1
            assert answer.endswith(b"\r\n\r\nok\n")
            await harness.until(lambda: server.connections == 0)

    harness.run(scenario())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400),
        (_request("GET /healthz", "Content-Length: 1", "Content-Length: 2"), 400),
        (_request("GET /healthz", "Transfer-Encoding: chunked") + b"zz\r\n", 400),
        (_request("GET /healthz", "Transfer-Encoding: gzip"), 501),
    ],
)
def test_what_is_not_http_is_refused(request_: bytes, status: int) -> None:
    """A malformed request is answered with the error's name and nothing of the request, then the end."""

    async def scenario() -> None:
        async with harness.server() as server:
            answer = await harness.exchange(server, request_)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
            assert b"\r\nConnection: close\r\n" in answer
            assert b"nonsense" not in answer
            assert await harness.healthy(server)

    harness.run(scenario())


def test_an_answer_survives_unread_input() -> None:
    """A client that is still sending its body when it is answered gets the answer, not a reset."""

    async def scenario() -> None:
        async with harness.server() as server, harness.client(server) as (reader, writer):
            writer.write(_request("POST /healthz", "Content-Length: 10000000"))
            assert (await harness.reply(reader)).status == 405
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            assert await reader.read() == b""

    harness.run(scenario())


def test_a_client_that_resets_disturbs_nobody() -> None:
    """A connection reset by its client, in a request or in a response, is gone, and the server goes on."""

    async def scenario() -> None:
        async with harness.server() as server:
            for request in (b"GET /hea", _request("GET /big"), _request("GET /big") * 9):
                async with harness.client(server) as (_, writer):
                    writer.write(request)
                    await harness.until(lambda: server.connections == 1)
                    linger = socket.SO_LINGER
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, linger, b"\1\0\0\0\0\0\0\0")
                await harness.until(lambda: server.connections == 0)
            assert await harness.healthy(server)

    harness.run(scenario())


def test_a_failing_handler_is_logged_once_until_it_recovers(caplog: pytest.LogCaptureFixture) -> None:
    """A handler's error is a 500 and one log line per streak, with the stack at debug level only."""
    broken = True

    def handler(_headers: object) -> Response:
        if broken:
            raise ValueError("\x1b[31m\nfrom the client")
        return Response(b"fine")

    caplog.set_level(logging.DEBUG, "oomtracer.server")
    router = Router({"/metrics": handler})
    assert [router.respond(b"GET", b"/metrics", {}).status for _ in range(3)] == [500, 500, 500]
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG"]
    broken = False
    assert router.respond(b"GET", b"/metrics", {}).status == 200
    broken = True
    assert router.respond(b"GET", b"/metrics", {}).status == 500
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG"] * 2
    line, stack = (record.getMessage() for record in caplog.records[:2])
    assert line == "cannot answer /metrics: ValueError (logged once until it works again)"
    assert "in handler" in stack
    assert "\x1b" not in stack
    assert "\nfrom the client" not in stack


def test_nothing_a_client_sends_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a client sends, good or bad, no log line holds it."""
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        async with harness.server() as server:
            for request in (
                b"INTRUDER\x1b[0m / HTTP/1.1\r\n\r\n",
                _request("GET /bug?INTRUDER", "X-A: INTRUDER"),
            ):
                await harness.ask(server, request)

    harness.run(scenario())
    assert "INTRUDER" not in caplog.text


@pytest.mark.parametrize(
    ("status", "content_type"), [(204, "a/b"), (304, "a/b"), (799, "a/b"), (200, "a\r\nX: y"), (200, "")]
)
def test_a_response_that_cannot_be_sent_cannot_be_made(status: int, content_type: str) -> None:
    """A status without a body, and a content type that would break the header, are errors of the handler."""
    with pytest.raises(ValueError, match=r"neither 200|not a content type|not a valid"):
        Response(b"", content_type, status)

"""Connections to one API server: kubernetes_asyncio's TLS and pool, with manners fit for an agent."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp import ClientTimeout

from oomtracer.kube.credentials import Credential
from oomtracer.kube.exchange import Request
from oomtracer.kube.lean import Client
from oomtracer.kube.unreachable import CONNECT_S, SentBeforeError

_READ_BYTES = 1 << 16
# What a connection holds for a slow reader, twice; the client's own default is 2 MiB.

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class _NoAnswerError(Exception):
    """The connection ended before the first byte of an answer."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


@dataclass(slots=True)
class _Attempt:
    """One sending of a request, as the session's trace sees it."""

    on_kept_connection: bool = False


class Transport:
    """A pool of connections with one client certificate, counting who uses it, so that it can be replaced.

    Proxies and passwords of the environment are not used, only a kubeconfig's ``proxy-url``. Connections idle
    for 15 s (aiohttp's default) are not used again. Needs a running event loop.
    """

    def __init__(self, client: Client, configuration: Any) -> None:
        rest = client.rest(configuration)
        connector = rest.pool_manager.connector
        rest.pool_manager.detach()  # that session trusts the environment; a new one takes over its connections
        self._proxy = rest.proxy
        self._server_name = rest.server_hostname
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BYTES,
            middlewares=(_without_retry,),
            trace_configs=[_kept_connections()],
        )
        self._users = 0
        self._retired = False

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if self._retired and not self._users:
            await self._session.close()

    async def send(
        self, request: Request, credential: Credential, *, read_timeout_s: float
    ) -> aiohttp.ClientResponse:
        """Send a request, return the answer's head. Raises what aiohttp raises, and SentBeforeError.

        A kept connection that turns out to be closed costs a repeatable request nothing: it is sent again.
        """
        is_repeated = False
        while True:
            attempt = _Attempt()
            try:
                return await self._once(request, credential, read_timeout_s, attempt)
            except _NoAnswerError as error:
                reason = error.reason
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if is_repeated:  # it may have been heard on the connection before this one
                    raise SentBeforeError(error) from None
                raise
            if not (request.repeatable and attempt.on_kept_connection):
                raise reason
            is_repeated = True

    async def retire(self) -> None:
        """Close, now or when the last request has ended."""
        self._retired = True
        if not self._users:
            await self._session.close()

    async def close(self) -> None:
        """Close now; requests under way fail."""
        await self._session.close()

    async def _once(
        self, request: Request, credential: Credential, read_timeout_s: float, attempt: _Attempt
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            request.method,
            request.url,
            headers=request.headers(credential),
            data=request.body,
            timeout=ClientTimeout(connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=read_timeout_s),
            allow_redirects=False,
            proxy=self._proxy,
            server_hostname=self._server_name,
            trace_request_ctx=attempt,
        )


async def _without_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request twice by itself, which it does after new connections' failures too."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, TimeoutError):
        raise
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise _NoAnswerError(error) from error


def _kept_connections() -> aiohttp.TraceConfig:
    async def note(_session: object, context: Any, _parameters: object) -> None:
        context.trace_request_ctx.on_kept_connection = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note)
    return trace


def keep_alive(response: aiohttp.ClientResponse) -> None:
    """Let the kernel ask now and then whether the other end is still there, for an answer that takes long."""
    transport = response.connection.transport if response.connection else None
    one = transport.get_extra_info("socket") if transport else None
    if one is not None:
        with suppress(OSError):
            for level, option, value in _KEEPALIVE:
                one.setsockopt(level, option, value)

"""The API server as the rest of ``kube`` sees it: requests in, answers or ApiUnreachableError out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from oomtracer.kube.api import JSON, Response
from oomtracer.kube.bodies import read_body, read_start
from oomtracer.kube.credentials import Credential, Credentials
from oomtracer.kube.exchange import ERROR_BYTES, Request, ServerStream, headers_of, url_of
from oomtracer.kube.pem import ClientCertificate
from oomtracer.kube.transport import Transport, keep_alive
from oomtracer.kube.unreachable import explained

BODY_BYTES = 256 << 20
"""What a list may take; a longer answer is as good as none."""
WRITTEN_BYTES = 4 << 20
"""The same for what a write gives back: one object, at most 3 MiB of it."""


class ApiServer:
    """A connection to the API server; see the protocol Api.

    ``open_transport`` makes connections with a client certificate, and raises OomTracerError if it cannot be
    used. A new certificate replaces them.
    """

    def __init__(
        self,
        url: URL,
        credentials: Credentials,
        open_transport: Callable[[ClientCertificate | None], Transport],
    ) -> None:
        self.where = f"{url.host_subcomponent}:{url.port}"
        """Host and port, for messages."""
        self._url = str(url).rstrip("/")
        self._credentials = credentials
        self._open_transport = open_transport
        self._transport: Transport | None = None
        self._certificate: ClientCertificate | None = None

    async def open(self, for_now: Credential | None = None) -> None:
        """Obtain the credentials and set TLS up, so that what is wrong with them is told at once.

        With a credential ``for_now``, TLS is set up with that one, and others are obtained by the first request.
        Raises OomTracerError. Nothing is sent to the API server yet.
        """
        await self._transport_for(await self._credentials.current() if for_now is None else for_now)

    async def request(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_s: float = 10.0,
        repeatable: bool | None = None,
    ) -> Response:
        """One request. A 401 has been tried once more if there were other credentials. Raises ApiUnreachableError.

        ``repeatable``: whether it may be sent again if a kept connection turns out to be closed; None: unless POST.
        """
        request = Request(
            method=method,
            url=url_of(self._url, path, query),
            body=body,
            content_type=content_type,
            repeatable=method != "POST" if repeatable is None else repeatable,
        )
        with explained(self.where, timeout_s):
            credential = await self._credentials.current()
            response = await self._answer(request, credential, timeout_s)
            if response.status == 401 and (other := await self._credentials.instead_of(credential)):
                response = await self._answer(request, other, timeout_s)
            return response

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], read_timeout_s: float
    ) -> AsyncIterator[ServerStream]:
        """A GET whose answer is read as it comes. Raises ApiUnreachableError when entered.

        A 401 has been tried once more if there were other credentials.
        """
        request = Request(method="GET", url=url_of(self._url, path, query))
        with explained(self.where, read_timeout_s):
            credential = await self._credentials.current()
        async with self._opened(request, credential, read_timeout_s) as response:
            other = await self._credentials.instead_of(credential) if response.status == 401 else None
            if other is None:
                yield self._stream(response, read_timeout_s)
                return
        async with self._opened(request, other, read_timeout_s) as response:
            yield self._stream(response, read_timeout_s)

    async def close(self) -> None:
        """Close all connections; nothing can be sent any more."""
        if self._transport is not None:
            await self._transport.close()

    def _stream(self, response: aiohttp.ClientResponse, read_timeout_s: float) -> ServerStream:
        keep_alive(response)
        return ServerStream(
            status=response.status,
            headers=headers_of(response),
            response=response,
            where=self.where,
            read_timeout_s=read_timeout_s,
        )

    async def _answer(self, request: Request, credential: Credential, timeout_s: float) -> Response:
        async with asyncio.timeout(timeout_s), self._opened(request, credential, timeout_s) as response:
            is_success = 200 <= response.status < 300
            most = BODY_BYTES if request.method == "GET" else WRITTEN_BYTES
            body = await (read_body(response, most) if is_success else read_start(response, ERROR_BYTES))
            return Response(response.status, headers_of(response), body)

    @asynccontextmanager
    async def _opened(
        self, request: Request, credential: Credential, read_timeout_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request; afterwards close its connection, unless the whole answer has been read."""
        with explained(self.where, read_timeout_s):
            transport = await self._transport_for(credential)
        async with transport:
            with explained(self.where, read_timeout_s):
                response = await transport.send(request, credential, read_timeout_s=read_timeout_s)
            try:
                yield response
            finally:
                response.close()

    async def _transport_for(self, credential: Credential) -> Transport:
        """The connections with the credential's certificate."""
        old = self._transport
        if old is not None and credential.certificate == self._certificate:
            return old
        self._transport = self._open_transport(credential.certificate)
        self._certificate = credential.certificate
        if old is not None:
            await old.retire()
        return self._transport

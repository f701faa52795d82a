"""One request to the API server and its answer, as they look on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from oomtracer import __version__
from oomtracer.kube.api import JSON
from oomtracer.kube.bodies import read_start
from oomtracer.kube.credentials import Credential
from oomtracer.kube.unreachable import explained

ERROR_BYTES = 1 << 20
"""What is read of an answer that is no success."""

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"oomtracer/{__version__}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent. ``repeatable``: whether it may be sent again if a kept connection turns out to be closed."""

    method: str
    url: URL
    body: bytes | None = None
    content_type: str = JSON
    repeatable: bool = True

    def headers(self, credential: Credential) -> dict[str, str]:
        """The headers beside those that every HTTP request has."""
        headers = dict(_HEADERS)
        if self.body is not None:
            headers["Content-Type"] = self.content_type
        if credential.authorization is not None:
            headers["Authorization"] = credential.authorization
        return headers


def url_of(server: str, path: str, query: Mapping[str, str] | None) -> URL:
    """The address of a request: the server's, which may end in a path, and a path that is quoted already."""
    encoded = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return URL(f"{server}{path}{encoded}", encoded=True)


def headers_of(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    """The answer's headers by lower-case name; of several with one name, the last."""
    return {name.lower(): value for name, value in response.headers.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStream:
    """An answer that is read as it comes; see the protocol Stream."""

    status: int
    headers: Mapping[str, str]
    response: aiohttp.ClientResponse = field(repr=False)
    where: str
    """The server, for messages."""
    read_timeout_s: float

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises ApiUnreachableError: cut off, or silent for too long."""
        with explained(self.where, self.read_timeout_s):
            async for chunk in self.response.content.iter_any():
                yield chunk

    async def body(self) -> bytes:
        """The body, at most 1 MiB of it. Raises ApiUnreachableError."""
        with explained(self.where, self.read_timeout_s):
            async with asyncio.timeout(self.read_timeout_s):
                return await read_start(self.response, ERROR_BYTES)

"""What the rest of ``kube`` sees of the API server: answers, and the one error below HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

MERGE_PATCH = "application/merge-patch+json"
JSON = "application/json"
FIELD_MANAGER = "oomtracer"
"""Who changed a field, as ``managedFields`` tells it."""


class ApiUnreachableError(Exception):
    """No answer, or half of one: refused, reset, timed out, TLS, an end without the terminating chunk.

    The message is short, printable and holds no secret. ``was_sent`` is False if nothing has reached the API server
    for certain: there was no connection, or there were no credentials.
    """

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whatever its status. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream(Protocol):
    """A response whose body is read as it comes. Only a 200 is streamed; of others read ``body()``."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by lower-case name."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive, to its clean end.

        Raises ApiUnreachableError: cut off, or silent for longer than the read timeout.
        """

    async def body(self) -> bytes:
        """The whole body (at most 1 MiB of it), for an error's Status."""


class Api(Protocol):
    """A connection to the API server, with its credentials."""

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
        ``timeout_s``: for the whole answer; to obtain credentials may take longer.
        """

    def stream(
        self, path: str, *, query: Mapping[str, str], read_timeout_s: float
    ) -> AbstractAsyncContextManager[Stream]:
        """A GET whose answer is read as it comes. Raises ApiUnreachableError when entered."""

    async def close(self) -> None:
        """Close all connections."""

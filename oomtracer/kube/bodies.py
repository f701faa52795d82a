"""Reads an answer's body, so much of it and no more."""

from __future__ import annotations

import aiohttp


class TooLongError(Exception):
    """The body goes on beyond the limit."""


async def read_body(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body, decompressed. Raises TooLongError, and what aiohttp raises."""
    chunks: list[bytes] = []
    left = limit_bytes
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise TooLongError
        chunks.append(chunk)
    return b"".join(chunks)


async def read_start(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body's first bytes, at most so many. Raises what aiohttp raises."""
    kept = bytearray()
    async for chunk in response.content.iter_any():
        kept += chunk[: limit_bytes - len(kept)]
        if len(kept) == limit_bytes:
            break
    return bytes(kept)

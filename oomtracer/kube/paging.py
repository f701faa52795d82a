"""A long list in pages, to its end, whatever the API server goes through meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from oomtracer.errors import OomTracerError
from oomtracer.kube.api import Api, ApiUnreachableError, Response
from oomtracer.kube.backoff import Backoff
from oomtracer.kube.status import status_of

PAGE_ITEMS = 500
TRIES = 6
"""For one page; with the waits between them some half a minute."""
_TIMEOUT_S = 60.0
_GONE = 410


async def list_pages(
    api: Api,
    path: str,
    *,
    query: Mapping[str, str],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[list[Mapping[str, object]]]:
    """The items of a list, page by page.

    Where a page's token has expired, the list goes on from the token that the server offers instead, or starts
    anew: an item may come twice then. Raises OomTracerError.
    """
    token = ""
    restarts = 0
    while True:
        asked = {**query, "limit": str(PAGE_ITEMS), **({"continue": token} if token else {})}
        response = await _get(api, path, asked, sleep)
        if response.status == 200:
            items, token = _page(response.body)
            yield items
            if not token:
                return
            continue
        restarts += 1
        if not token or restarts > TRIES:
            raise OomTracerError(f"cannot list {path}: the list expires before it is read", hint="try again")
        token = _offered(response.body)


async def _get(
    api: Api, path: str, query: Mapping[str, str], sleep: Callable[[float], Awaitable[None]]
) -> Response:
    """A page or a 410. Raises OomTracerError, for what passes only after some tries."""
    backoff = Backoff(cap_s=10.0)
    for attempt in range(1, TRIES + 1):
        retry_after_s = None
        try:
            response = await api.request("GET", path, query=query, timeout_s=_TIMEOUT_S)
        except ApiUnreachableError as error:
            reason, hint = str(error), "look whether the API server can be reached from here"
        else:
            if response.status in (200, _GONE):
                return response
            status = status_of(response)
            reason = f"HTTP {status.code}{': ' if status.message else ''}{status.message}"
            hint = _HINTS.get(status.code, "")
            if 400 <= status.code < 500 and status.code != 429:
                break
            retry_after_s = status.retry_after_s
        if attempt < TRIES:
            await sleep(backoff.next_s(retry_after_s))
    raise OomTracerError(f"cannot list {path}: {reason}", hint=hint)


_HINTS = {
    401: "the credentials are not accepted: renew them",
    403: 'this account needs the verb "list" on pods: use an administrator\'s --kubeconfig',
}


def _page(body: bytes) -> tuple[list[Mapping[str, object]], str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("items"), list | None):
        raise OomTracerError("cannot list: the answer is no list", hint="is this a Kubernetes API server?")
    items: list[Mapping[str, object]] = [
        each for each in document.get("items") or [] if isinstance(each, dict)
    ]
    return items, _token(document)


def _offered(body: bytes) -> str:
    """The token of a 410, with which the rest can be listed as it is now; empty where there is none."""
    try:
        return _token(json.loads(body))
    except (ValueError, RecursionError):
        return ""


def _token(document: object) -> str:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    token = metadata.get("continue") if isinstance(metadata, dict) else None
    return token if isinstance(token, str) else ""

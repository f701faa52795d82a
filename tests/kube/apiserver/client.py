"""A bare HTTP client for the tests of the fake API server itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from .server import FakeApiServer

MERGE_PATCH = "application/merge-patch+json"
LIST = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a&resourceVersion=0"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.text)


class Client:
    """Sends requests with the agent's token, or another."""

    def __init__(self, api: FakeApiServer, session: aiohttp.ClientSession) -> None:
        self._api = api
        self._session = session

    async def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", token: str = ""
    ) -> Answer:
        """One request. Raises aiohttp.ClientError."""
        async with self._session.request(
            method,
            self._api.url + path,
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {token or self._api.token}", "Content-Type": kind},
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def patch(self, path: str, metadata: Mapping[str, Any], *, token: str = "") -> Answer:
        """A merge patch of a pod's metadata; ``path`` is ``NAMESPACE/NAME``, with a query if need be."""
        namespace, name = path.split("/", 1)
        whole = f"/api/v1/namespaces/{namespace}/pods/{name}"
        return await self.ask("PATCH", whole, {"metadata": metadata}, kind=MERGE_PATCH, token=token)

    @asynccontextmanager
    async def watch(self, query: str = "") -> AsyncIterator[aiohttp.StreamReader]:
        """An open watch of all pods; ``query`` begins with ``&``."""
        url = f"{self._api.url}/api/v1/pods?watch=1{query}"
        headers = {"Authorization": f"Bearer {self._api.token}"}
        async with self._session.get(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            yield answer.content


async def event(stream: aiohttp.StreamReader) -> tuple[str, Any]:
    """The next line of a watch: type and object."""
    line = json.loads(await stream.readline())
    return line["type"], line["object"]


@asynccontextmanager
async def server_and_client(**arguments: Any) -> AsyncIterator[tuple[FakeApiServer, Client]]:
    """A running server and a client of it."""
    async with FakeApiServer(**arguments) as api, aiohttp.ClientSession() as session:
        yield api, Client(api, session)

"""An API server in memory for lists and watches: what each request gets, byte by byte and second by second."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from oomtracer.kube.api import ApiUnreachableError, Response

from .virtual_time import now

REFUSED = ApiUnreachableError("connection refused")
CUT = ApiUnreachableError("the answer ends half-way")
SILENT = ApiUnreachableError("no byte within the read timeout")

Step = bytes | float | Exception
"""A chunk, a pause in seconds, or how the stream breaks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. Its body comes in steps; the end of the steps is the clean end."""

    steps: Iterable[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and when it came."""

    at_s: float
    query: Mapping[str, str]

    @property
    def verb(self) -> str:
        """``list`` or ``watch``."""
        return "watch" if self.query.get("watch") else "list"

    @property
    def version(self) -> str:
        """The version asked for."""
        return self.query["resourceVersion"]


Script = Callable[[Request], Answer | Exception]


class StreamedApi:
    """Answers every GET of pods by a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []

    async def request(self, *args: Any, **more: Any) -> Response:
        """Nothing here is asked so."""
        raise NotImplementedError

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], read_timeout_s: float
    ) -> AsyncIterator[_Stream]:
        """Answer by the script."""
        assert path == "/api/v1/pods"
        request = Request(now(), dict(query))
        self.requests.append(request)
        answer = self.script(request)
        await asyncio.sleep(0.01)
        if isinstance(answer, Exception):
            raise type(answer)(*answer.args)
        yield _Stream(answer, read_timeout_s)

    async def close(self) -> None:
        """Nothing is open."""


class _Stream:
    def __init__(self, answer: Answer, read_timeout_s: float) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._steps = answer.steps
        self._read_timeout_s = read_timeout_s

    async def chunks(self) -> AsyncIterator[bytes]:
        """The steps, or SILENT where a pause is too long."""
        for step in self._steps:
            if isinstance(step, Exception):
                raise type(step)(*step.args)
            if isinstance(step, bytes):
                yield step
                continue
            await asyncio.sleep(min(step, self._read_timeout_s))
            if step >= self._read_timeout_s:
                raise SILENT

    async def body(self) -> bytes:
        """All chunks."""
        return b"".join([chunk async for chunk in self.chunks()])


def listed(version: int, *pods: Mapping[str, Any]) -> Answer:
    """A list."""
    body = {"kind": "PodList", "metadata": {"resourceVersion": str(version)}, "items": list(pods)}
    return Answer([json.dumps(body).encode()])


def line(kind: str, version: int, pod: Mapping[str, Any] | None = None) -> bytes:
    """An event of a watch; the object has this version."""
    pod = pod or {}
    metadata = {**pod.get("metadata", {}), "resourceVersion": str(version)}
    return json.dumps({"type": kind, "object": {**pod, "metadata": metadata}}).encode() + b"\n"


def error_line(code: int, message: str = "too old resource version: 1 (1246)") -> bytes:
    """An ERROR of a watch."""
    status = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


def refused(code: int, message: str = "", *, reason: str = "", cause: str = "", **headers: str) -> Answer:
    """An error as a kube-apiserver tells it."""
    causes = [{"reason": cause}] if cause else []
    status = {"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": reason}
    body = json.dumps(status | {"details": {"causes": causes}}).encode()
    return Answer([body], code, {name.replace("_", "-"): value for name, value in headers.items()})


def bare(uid: str, version: int = 1, *, name: str | None = None, **status: Any) -> dict[str, Any]:
    """A pod with a name, a version and nothing else."""
    metadata = {"uid": uid, "namespace": "shop", "name": name or uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "status": status}


def minutes(count: float, version: int) -> list[Step]:
    """A watch without changes: a bookmark each minute."""
    return [step for _ in range(round(count)) for step in (60.0, line("BOOKMARK", version))]

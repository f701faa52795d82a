"""An API server in memory that answers as a test says, for what the wire does not matter to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from oomtracer.kube.api import JSON, ApiUnreachableError, Response, Stream

from .virtual_time import now

OK = Response(200, {"content-type": "application/json"}, b'{"kind":"Pod"}')
UNREACHABLE = ApiUnreachableError("connection refused")
NEVER_SENT = ApiUnreachableError("connection refused", was_sent=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and when it came."""

    at_s: float
    method: str
    path: str
    query: Mapping[str, str]
    document: Any
    content_type: str
    timeout_s: float

    @property
    def pod(self) -> str:
        """Name of the pod that is patched."""
        return self.path.rpartition("/")[2]


Answer = Response | Exception
Script = Callable[[Request], Answer]


class ScriptedApi:
    """Notes each request and answers it after ``delay_s``; ``in_flight`` counts by path, ``most`` is its maximum."""

    def __init__(self, script: Script = lambda _: OK, *, delay_s: float = 0.01) -> None:
        self.script = script
        self.delay_s = delay_s
        self.requests: list[Request] = []
        self.in_flight: dict[str, int] = {}
        self.most = 0

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_s: float = 10.0,
    ) -> Response:
        """Answer by the script."""
        document = json.loads(body) if body else None
        request = Request(now(), method, path, dict(query or {}), document, content_type, timeout_s)
        self.requests.append(request)
        self.in_flight[path] = self.in_flight.get(path, 0) + 1
        self.most = max(self.most, self.in_flight[path])
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.in_flight[path] -= 1
        answer = self.script(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stream(
        self, path: str, *, query: Mapping[str, str], read_timeout_s: float
    ) -> AbstractAsyncContextManager[Stream]:
        """Nothing here watches."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""


def status(
    code: int,
    reason: str = "",
    message: str = "",
    *,
    causes: list[dict[str, str]] | None = None,
    retry_after_s: int | None = None,
) -> Response:
    """Build an error as a kube-apiserver tells it."""
    document: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    document |= {"reason": reason, "message": message, "details": {"causes": causes or []}}
    headers = {"content-type": "application/json"}
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    return Response(code, headers, json.dumps(document).encode())


NOT_FOUND = status(404, "NotFound", 'pods "shop" not found')
NO_RIGHT = status(403, "Forbidden", 'pods "shop" is forbidden: User "agent" cannot patch resource "pods"')
OTHER_UID = status(
    422,
    "Invalid",
    "metadata.uid: field is immutable",
    causes=[{"field": "metadata.uid", "reason": "FieldValueInvalid"}],
)
_DENIAL = (
    "ValidatingAdmissionPolicy 'fence' with binding 'fence' denied request: only the configured annotation"
)
DENIED = status(403, "Forbidden", f'pods "shop" is forbidden: {_DENIAL}', causes=[{"message": _DENIAL}])
OVERLOAD = Response(
    429, {"content-type": "text/plain", "retry-after": "1"}, b"Too many requests, please try again later.\n"
)
DOWN = status(504, "Timeout", "Timeout: request did not complete within the allotted timeout")

"""Sends a recorded request to another server, and compares the answers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any

import aiohttp
from yarl import URL

from . import Step

# what a client may come to rely on; Audit-Id, Date and the flow schema's ids say nothing to it
COMPARED_HEADERS = (
    "cache-control",
    "content-encoding",
    "content-type",
    "retry-after",
    "vary",
    "warning",
    "x-content-type-options",
)
MADE_BY_SERVER = ("creationTimestamp", "deletionTimestamp")
SHORTENED = re.compile(r"(?P<head>.*?)(?P<run>x+)\.\.\.<(?P<size>\d+) bytes in all>", re.DOTALL)
INDENTED = "{\n"
NOT_SENT = ("Content-Length",)
CLOSING = '"}}}'
During = Callable[[], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer, as far as it is compared. ``is_chunked`` is None where managers decide about the size."""

    status: int
    headers: dict[str, str]
    is_chunked: bool | None
    is_indented: bool
    body: Any
    lines: list[Any]
    is_cut: bool


class Replay:
    """Replays steps against ``url``; the tokens there are the names in the recordings, ``<agent>``."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def check(self, step: Step, during: During | None = None, *, forget: tuple[str, ...] = ()) -> None:
        """Fails unless the answer is the recorded one.

        ``during`` runs once the answer's head has come: what changes while a watch is open. ``forget``
        names fields whose values the server makes up.
        """
        seen, wanted = await self._ask(step, during, forget), expected(step, forget)
        for part in fields(Seen):
            now, then = getattr(seen, part.name), getattr(wanted, part.name)
            assert now == then, f"{step.label}: {part.name}\n  answered {now}\n  recorded {then}"

    async def _ask(self, step: Step, during: During | None, forget: tuple[str, ...]) -> Seen:
        url = URL(f"{self._url}{step.path}?{step.raw_query}", encoded=True)
        headers = {name: value for name, value in step.request_headers.items() if name not in NOT_SENT}
        if step.label.startswith("no Authorization"):
            del headers["Authorization"]
        body = io.BytesIO(whole_body(step.request_body)) if step.request_body is not None else None
        async with self._session.request(step.method, url, headers=headers, data=body) as answer:
            if during is not None:
                done = during()
                if done is not None:
                    await done
            received, is_cut = b"", False
            try:
                async for piece in answer.content.iter_any():
                    received += piece
            except aiohttp.ClientPayloadError:
                is_cut = True
            return Seen(
                status=answer.status,
                headers={name: answer.headers[name] for name in COMPARED_HEADERS if name in answer.headers},
                is_indented=received.startswith(INDENTED.encode()),
                is_chunked=None if _has_managers(step) else "Transfer-Encoding" in answer.headers,
                body=None
                if _is_watch(step)
                else normal(_decoded(received.decode()), forget)
                if step.body
                else "",
                lines=normal_lines(received.decode().splitlines()) if _is_watch(step) else [],
                is_cut=is_cut,
            )


def expected(step: Step, forget: tuple[str, ...] = ()) -> Seen:
    """The recorded answer, as far as it is compared."""
    is_watch = _is_watch(step)
    return Seen(
        status=step.status,
        headers={name: step.headers[name] for name in COMPARED_HEADERS if name in step.headers},
        is_indented=step.body.startswith(INDENTED),
        is_chunked=None if _has_managers(step) else "transfer-encoding" in step.headers,
        body=None if is_watch else normal(_decoded(step.body), forget) if step.body else "",
        lines=normal_lines(step.lines),
        is_cut=step.is_cut,
    )


def normal(value: Any, forget: tuple[str, ...] = ()) -> Any:
    """Without what differs by nature: times that the server sets, managers, a pod echoed in a message."""
    if isinstance(value, dict):
        kept = {key: normal(item, forget) for key, item in value.items() if key != "managedFields"}
        # lists of pairs: the order of the keys is compared too
        return [(key, "made up" if key in (*MADE_BY_SERVER, *forget) else item) for key, item in kept.items()]
    if isinstance(value, list):
        return [normal(item, forget) for item in value]
    if isinstance(value, str):
        value = re.sub(r'Invalid value: "\{.*\}": ', "Invalid value: (the pod): ", value, flags=re.DOTALL)
        value = re.sub(r"The disruption budget .*", "The disruption budget (words)", value)
        value = re.sub(r"\n@@.*", "\n(the difference)", value, flags=re.DOTALL)
        return re.sub(r"x{200,}", "(very many x)", value)
    return value


def normal_lines(lines: Any) -> list[Any]:
    """Events of a stream; of several bookmarks in a row, whose number is a matter of time, only one."""
    made: list[Any] = []
    for line in lines:
        event = normal(json.loads(line))
        if made and made[-1][0] == event[0] == ("type", "BOOKMARK"):
            if "initial-events-end" in str(made[-1]):
                continue
            made.pop()
        made.append(event)
    return made


def whole_body(body: str) -> bytes:
    """The request's body; what the recording shortened is filled up again."""
    found = SHORTENED.fullmatch(body)
    if not found:
        return body.encode()
    run = int(found["size"]) - len(found["head"]) - len(CLOSING)
    return f"{found['head']}{'x' * run}{CLOSING}".encode()


def _has_managers(step: Step) -> bool:
    return "managedFields" in step.body


def _is_watch(step: Step) -> bool:
    return step.status == 200 and "watch=" in step.raw_query


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

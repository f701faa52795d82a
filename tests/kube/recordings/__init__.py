"""Conversations with a real kube-apiserver, byte for byte (see README.md)."""

from __future__ import annotations

import functools
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CLEAN_END = "terminating chunk"
TRIMMED = "\n<trimmed from"


@dataclass(frozen=True, slots=True)
class Step:
    """One request and its answer. ``body`` and ``lines`` are the exact text that came (a body may be shortened).

    ``lines`` are those of a watch that was answered 200, ``is_cut`` says that its end was no clean one.
    """

    label: str
    method: str
    path: str
    raw_query: str
    request_headers: dict[str, str]
    request_body: str | None
    status: int
    headers: dict[str, str]
    body: str
    lines: tuple[str, ...]
    is_cut: bool

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The lines, decoded."""
        return [json.loads(line) for line in self.lines]


@functools.cache
def recording(name: str) -> dict[str, Any]:
    """A whole recording: ``recording("04-410-gone")``, or just ``"04"`` where that is unique.

    Raises:
        ValueError: No recording or several begin so.
    """
    (path,) = [path for path in FOLDER.glob("*.json.xz") if path.name.startswith(name)]
    whole: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
    return whole


def names() -> list[str]:
    """The names of all recordings, in order."""
    return sorted(path.name.removesuffix(".json.xz") for path in FOLDER.glob("*.json.xz"))


def steps(name: str) -> Iterator[Step]:
    """The steps of a recording that were answered, in order; notes are left out."""
    for raw in recording(name)["steps"]:
        if "status" in (raw.get("response") or {}):
            yield _step(raw)


def recorded(name: str, label: str) -> Step:
    """The step with that label, or the only one whose label begins so.

    Raises:
        ValueError: None or several.
    """
    found = list(steps(name))
    (step,) = [one for one in found if one.label == label] or [
        one for one in found if one.label.startswith(label)
    ]
    return step


def _step(raw: dict[str, Any]) -> Step:
    request, response = raw["request"], raw["response"]
    return Step(
        label=raw["step"],
        method=request["method"],
        path=request["path"],
        raw_query=request["raw_query"],
        request_headers=request["headers"],
        request_body=request["body"],
        status=response["status"],
        headers={name.lower(): value for name, value in response["headers"]},
        body=(response.get("body") or "").partition(TRIMMED)[0],
        lines=tuple([line["line"] for line in response.get("stream_lines") or ()]),
        is_cut=not response.get("end", CLEAN_END).startswith(CLEAN_END),
    )

"""A list of pods as it arrives, in chunks of any size: ``oomtracer.kube.json_list``, ``records``."""

from __future__ import annotations

import json
import zlib
from random import Random
from typing import Any

from oomtracer.kube.json_list import MalformedError
from oomtracer.kube.records import PodList, PodListReader

from .json_values import altered, text_of
from .mutate import noise
from .watch import POD, READER, check_message, check_pod

_SMALL = {"metadata": {"uid": "u", "namespace": "n", "name": "p", "resourceVersion": "7"}}
_LISTS: tuple[Any, ...] = (
    {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "9"},
        "items": [_SMALL, POD, _SMALL],
    },
    {"items": [_SMALL], "kind": "PodList", "metadata": {"resourceVersion": "9", "continue": "", "x": 1.5}},
    {"kind": "PodList", "metadata": {"resourceVersion": "10"}, "items": None},
    {"metadata": {"resourceVersion": "10"}, "items": []},
    {"kind": "PodList", "n": -12.5e3, "t": True, "metadata": {"resourceVersion": "1"}, "items": [_SMALL] * 9},
)


def generate(random: Random) -> bytes:
    """Make a list that is nearly what an API server sends."""
    if random.random() < 0.03:
        return noise(random, 4096)
    return text_of(random, altered(random, random.choice(_LISTS)))


def check(data: bytes) -> None:
    """The same answer in whatever chunks it comes, and the same as of a parser that has it all at once."""
    found = _read([data])
    assert _read(_chunks(data)) == found
    if found is not None:
        for pod in found.pods:
            check_pod(pod)
    is_known, expected = _reference(data)
    assert not is_known or found == expected


def _chunks(data: bytes) -> list[bytes]:
    random, chunks, at = Random(zlib.crc32(data)), [], 0
    sizes = (1, 2, 3) if len(data) < 400 else (3, 50, 500, len(data))
    while at < len(data):
        size = random.choice(sizes)
        chunks.append(data[at : at + size])
        at += size
    return chunks


def _read(chunks: list[bytes]) -> PodList | None:
    """The list; None if it was refused."""
    reader = PodListReader(READER)
    try:
        for chunk in chunks:
            reader.feed(chunk)
        return reader.finish()
    except MalformedError as error:
        check_message(str(error))
        return None


def _reference(data: bytes) -> tuple[bool, PodList | None]:
    """Whether ``json`` alone can tell, and what it says."""
    try:
        pairs = json.JSONDecoder(object_pairs_hook=list).decode(data.decode(errors="replace"))
        document = json.loads(data.decode(errors="replace"))
    except RecursionError:
        return False, None  # how deep is too deep is for each parser to say
    except ValueError:
        return True, None
    if not isinstance(document, dict):
        return True, None
    # Two lists of items would be taken as one.
    return sum(pair[0] == "items" for pair in pairs) < 2, _reference_of(document)


def _reference_of(document: dict[str, Any]) -> PodList | None:
    metadata, items = document.get("metadata"), document.get("items")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    is_version = isinstance(version, str) and version.isascii() and version.isdigit() and len(version) <= 19
    if (
        not is_version
        or not int(version)
        or "items" not in document
        or document.get("kind", "PodList") != "PodList"
    ):
        return None
    if not isinstance(items, list | None):
        return None
    pods = [READER.pod_of(item if isinstance(item, dict) else {}) for item in items or ()]
    known = tuple(pod for pod in pods if pod)
    return None if pods and not known else PodList(int(version), known, len(pods) - len(known))

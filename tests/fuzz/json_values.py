"""JSON documents with another value, a key less or a key more, anywhere in them."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.unit.builders import HOSTILE

from .mutate import mutated

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**31), 2**63, 10**400, 0.5, float("nan"), float("inf")),
    *(
        "",
        "0",
        "1",
        "9" * 19,
        "9" * 20,
        "\u0661",
        "x" * 1500,
        "a\u0300",
        "Node",
        "true",
        "2026-03-01T12:34:56Z",
    ),
    *("2026-03-01", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59"),
    *HOSTILE,
    *([], {}, [{}], [[]], [None], {"": None}, {"name": {}}, [{"name": "a"}] * 3),
)
_TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\n",
        b" ",
        b"null",
        b"1e999",
        b"-",
        b"\\u",
        b"\\ud800",
    ),
    *(
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\0",
        b"[" * 3000,
        b'{"a":' * 1500,
        b"9" * 5000,
        b"NaN",
        b"\r\n",
    ),
)


def altered(random: Random, document: Any, most: int = 3) -> Any:
    """Change up to ``most`` places; the document itself stays as it is."""
    for _ in range(random.randint(0, most)):
        document = _altered(random, document)
    return document


def text_of(random: Random, document: Any) -> bytes:
    """Write it as JSON, now and then in ways that few do, or damaged."""
    separators = random.choice(((",", ":"), (",", ":"), (", ", ": "), (" ,\t", " :\r")))
    text = json.dumps(document, ensure_ascii=random.random() < 0.5, separators=separators)
    data = text.encode("utf-8", "surrogatepass")
    return mutated(random, data, _TOKENS) if random.random() < 0.25 else data


def _altered(random: Random, document: Any) -> Any:
    if document and isinstance(document, dict | list) and random.random() < 0.85:
        return _altered_inside(random, document)
    return random.choice(_ODD)


def _altered_inside(random: Random, document: Any) -> Any:
    copy = document.copy()
    key = random.choice(list(copy)) if isinstance(copy, dict) else random.randrange(len(copy))
    chance = random.random()
    if chance < 0.1:
        del copy[key]
    elif chance < 0.2 and isinstance(copy, dict):
        copy[random.choice(("", "name", "kind", "metadata", "items", "\ud800"))] = copy[key]
    elif chance < 0.2:
        copy += copy[key:] * random.choice((1, 2))
    else:
        copy[key] = _altered(random, copy[key])
    return copy

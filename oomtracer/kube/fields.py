"""Fields of a JSON document that may hold anything: what is not of the type asked for counts as absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
"""One for all: most pods have none of the annotations and labels that anybody asks for."""

_MAX_VERSION_DIGITS: Final = 19


def object_of(value: object) -> Mapping[str, object]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else EMPTY


def list_of(value: object) -> Sequence[object]:
    """The value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else ()


def text_of(value: object) -> str:
    """The value if it is a string, else an empty one; a lone surrogate, which no encoder takes, becomes ``?``."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode(errors="replace").decode()


def version_of(metadata: Mapping[str, object]) -> int | None:
    """``resourceVersion``, None where that is missing or no positive number.

    Versions of one resource can be compared as numbers (promised from Kubernetes 1.35 on, KEP-5504; they have always
    been etcd's revisions), and 0 is none of them.
    """
    text = text_of(metadata.get("resourceVersion"))
    if len(text) > _MAX_VERSION_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text) or None

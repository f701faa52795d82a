"""A whole ``OomReport`` as JSON and back: every field, also those that the published schema leaves out.

A key that an older agent did not write is the field's default, or None where that is a value of the field; a key
that only a newer one knows is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from oomtracer.events import OomReport

_Read = Callable[[Any], Any]


class ReportError(ValueError):
    """A row that does not hold a report of this agent's kind."""


def to_text(report: OomReport) -> str:
    """The report as one JSON object, ASCII only."""
    return json.dumps(report, default=_keys, ensure_ascii=True, separators=(",", ":"))


def from_text(text: str) -> OomReport:
    """The report that ``to_text`` wrote. Raises ReportError."""
    try:
        report: OomReport = _object(OomReport, json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ReportError(f"no report: {error}") from error
    return report


def _keys(value: Any) -> dict[str, Any]:
    """What json asks for where it meets a dataclass. Tuples and str enums it knows."""
    kind: type = type(value)
    return {name: getattr(value, name) for name in _names(kind)}


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple([field.name for field in fields(kind)])


def _object(kind: type, value: Any) -> Any:
    if not isinstance(value, dict):
        raise ReportError(f"{kind.__name__} is {type(value).__name__}")
    return kind(
        **{
            name: read(value[name]) if name in value else _missing(kind, name, default)
            for name, read, default in _readers(kind)
        }
    )


def _missing(kind: type, name: str, default: Any) -> Any:
    if default is MISSING:
        raise ReportError(f"{kind.__name__} has no {name}")
    return default


@cache
def _readers(kind: type) -> tuple[tuple[str, _Read, Any], ...]:
    """For each field its name, how its value is read, and what it is where it is missing."""
    hints = get_type_hints(kind)
    return tuple([(field.name, _reader(hints[field.name]), _default(field, hints)) for field in fields(kind)])


def _default(field: Field[Any], hints: dict[str, Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return None if NoneType in get_args(hints[field.name]) else MISSING


def _reader(hint: Any) -> _Read:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        [inner] = [each for each in arguments if each is not NoneType]
        return partial(_optional, _reader(inner))
    if origin is tuple:
        return partial(_tuple, _reader(arguments[0]))
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(_object, hint)
    return hint if issubclass(hint, Enum) else partial(_exactly, hint)


def _optional(read: _Read, value: Any) -> Any:
    return None if value is None else read(value)


def _tuple(read: _Read, value: Any) -> Any:
    if not isinstance(value, list):
        raise ReportError(f"a list is {type(value).__name__}")
    return tuple([read(each) for each in value])


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ReportError(f"{value!r:.40} is no {kind.__name__}")
    return value

"""One line of what ``check`` tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """``missing`` means that nothing can be traced; ``reduced`` that reports say less."""

    OK = "ok"
    REDUCED = "reduced"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``hint`` says what to do where the status is not ``ok``."""

    subject: str
    status: Status
    found: str
    hint: str = ""

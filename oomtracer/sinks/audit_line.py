"""How the kernel's count of kills and the journal's agree, as one line for people."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from oomtracer.audit import Verdict, sentence

if TYPE_CHECKING:
    from oomtracer.journal.reader import Reader


def audit_line(reader: Reader) -> str:
    """By the last audit that the journal has; empty where it has none. Raises OomTracerError."""
    found = reader.audit()
    if found is None:
        return ""
    row, reported, later = found
    known = {each.name for each in fields(Verdict)} - {"reported", "log"}
    counts = {name: value for name, value in row.counts.items() if name in known}
    line = sentence(Verdict(reported=reported, **counts), since=_time(row.since_us))
    # An agent that is killed takes no last look.
    return f"{line}; {later} more reported since the last look at {_time(row.until_us)}" if later else line


def _time(unix_us: int) -> str:
    return datetime.fromtimestamp(unix_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

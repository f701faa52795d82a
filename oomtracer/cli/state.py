"""The flags of the journal, together: one value, or none."""

from __future__ import annotations

from oomtracer.config import State, parse_directory, parse_duration, parse_state_size
from oomtracer.errors import UsageError


def state_of(directory: str, *, max_size: str, max_age: str) -> State | None:
    """What the journal may keep and where; None without a directory. Raises UsageError."""
    path = parse_directory(directory, flag="--state-dir")
    max_bytes = parse_state_size(max_size)
    max_age_s = parse_duration(max_age, flag="--state-max-age")
    if not max_age_s:
        raise UsageError("--state-max-age: nothing would be kept", hint="leave out --state-dir instead")
    return State(directory=path, max_bytes=max_bytes, max_age_s=max_age_s) if path else None

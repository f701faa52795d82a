"""Waiting for a condition, and for no longer than that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str, deadline_seconds: float = 30) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_seconds} s: {what}"
        time.sleep(0.005)

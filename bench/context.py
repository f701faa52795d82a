"""What every measurement is given."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The same as in tests/conftest.py.
LOCK = Path("/run/oomtracer-tests.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """``environment`` is the agent's, ``folder`` is for whatever is needed, ``is_locked`` if others are kept off."""

    environment: dict[str, str]
    folder: Path
    is_locked: bool

    def say(self, what: str) -> None:
        """Tell what is being done."""
        print(f"bench: {what}", file=sys.stderr)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other kills off for a minute at most: one at a time makes kills on this machine."""
        if self.is_locked:
            yield
            return
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

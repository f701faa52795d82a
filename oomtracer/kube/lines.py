"""A watch's stream cut into lines, however the bytes arrive."""

from __future__ import annotations

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Far above the largest pod that etcd takes (1.5 MiB), as JSON with every character escaped."""


class LineTooLongError(Exception):
    """A line longer than any object can be: not an API server, or not one to listen to."""


class LineSplitter:
    """Collects chunks until a line is whole; holds at most one line and one chunk."""

    def __init__(self, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take a chunk and return the lines that it completes, without their newlines.

        Raises LineTooLongError, which ends the use of this splitter.
        """
        first, *others = chunk.split(b"\n")
        self._hold(first)
        if not others:
            return []
        lines = [self.rest(), *others[:-1]]
        self._hold(others[-1])
        if max(map(len, lines)) > self._max_bytes:
            raise LineTooLongError
        return lines

    def rest(self) -> bytes:
        """Hand over what came after the last newline."""
        rest = b"".join(self._parts)
        self._parts = []
        self._held_bytes = 0
        return rest

    def _hold(self, part: bytes) -> None:
        self._parts.append(part)
        self._held_bytes += len(part)
        if self._held_bytes > self._max_bytes:
            raise LineTooLongError

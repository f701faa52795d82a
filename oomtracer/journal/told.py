"""What standard output has taken, known at once: also if the process is killed before the journal says so.

A report is written, and then that is noted. A process that dies in between tells it again. The journal's commit takes
some milliseconds for a batch; a store into a mapped file takes one, which outlasts the process as soon as
it is made. After a power failure the file may say less or more than is true; then the journal's own word holds
for all but its last second.
"""

from __future__ import annotations

import logging
import mmap
import os
from hashlib import blake2b
from pathlib import Path
from typing import Self

logger = logging.getLogger("oomtracer.journal")

SLOTS = 4096
"""More than reports wait for the journal at any time."""
_SLOT_BYTES = 8


class ToldFile:
    """The last reports that were told, by a digest of their ids."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._next = 0

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Map the file, made where it is missing; None where that cannot be: then some are told again."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                # All of it now: a store into a hole of a file on a full disk would be a signal.
                os.posix_fallocate(fd, 0, SLOTS * _SLOT_BYTES)
                return cls(mmap.mmap(fd, SLOTS * _SLOT_BYTES))
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            logger.warning("reports may be told again after a crash: %s: %s", path, error)
            return None

    def note(self, report_id: str) -> None:
        """One is told."""
        start = self._next * _SLOT_BYTES
        self._mapped[start : start + _SLOT_BYTES] = _digest(report_id)
        self._next = (self._next + 1) % SLOTS

    def known(self) -> frozenset[bytes]:
        """The digests that a process before this one noted."""
        content = self._mapped[:]
        return frozenset(content[i : i + _SLOT_BYTES] for i in range(0, len(content), _SLOT_BYTES))


def was_told(report_id: str, known: frozenset[bytes]) -> bool:
    """Whether a report is among those noted."""
    return _digest(report_id) in known


def _digest(report_id: str) -> bytes:
    return blake2b(report_id.encode(), digest_size=_SLOT_BYTES).digest()

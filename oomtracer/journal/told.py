"""What standard output has taken, known at once: also if the process is killed before the journal says so.

A report is written, and then that is noted. A process that dies in between tells it again. The journal's commit takes
some milliseconds for a batch; eight bytes written into a file outlast the process as soon as the thread below has its turn. After a power
failure the file may say less or more than is true; then the journal's own word holds for all but its last second.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from hashlib import blake2b
from queue import Full, Queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger("oomtracer.journal")

SLOTS = 4096
"""More than reports wait for the journal at any time."""
PATIENCE_S = 1.0
"""What the start waits for what is in the file."""
_SLOT_BYTES = 8


class ToldFile:
    """The last reports that were told, by a digest of their ids.

    A thread of its own touches the file, by system calls: a disk may hang, and one that fails would answer a store
    into mapped memory with a signal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._fault = ""
        self._next = 0
        self._notes: Queue[bytes] = Queue(SLOTS)
        self._found: Future[frozenset[bytes]] = Future()
        threading.Thread(target=self._main, name="told", daemon=True).start()

    def note(self, report_id: str) -> None:
        """One is told."""
        with suppress(Full):
            self._notes.put_nowait(_digest(report_id))

    def known(self) -> frozenset[bytes]:
        """The digests that a process before this one noted."""
        try:
            return self._found.result(PATIENCE_S)
        except TimeoutError:
            logger.warning("%s does not answer: reports may be told again", self._path)
            return frozenset()

    def _main(self) -> None:
        self._found.set_result(self._read())
        while True:
            self._write(self._notes.get())

    def _read(self) -> frozenset[bytes]:
        try:
            self._open()
            content = os.pread(self._fd, SLOTS * _SLOT_BYTES, 0)
        except OSError as error:
            self._fail(error)
            return frozenset()
        return frozenset(content[i : i + _SLOT_BYTES] for i in range(0, len(content), _SLOT_BYTES))

    def _write(self, digest: bytes) -> None:
        try:
            if self._fd < 0:
                self._open()
            os.pwrite(self._fd, digest, self._next * _SLOT_BYTES)
        except OSError as error:
            self._fail(error)
        else:
            self._fault = ""
            self._next = (self._next + 1) % SLOTS

    def _open(self) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # All of it now, so that a disk that is full later takes every note.
            os.posix_fallocate(fd, 0, SLOTS * _SLOT_BYTES)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def _fail(self, error: OSError) -> None:
        if self._fd >= 0:  # so that the file system can be unmounted and another be mounted in its place
            os.close(self._fd)
            self._fd = -1
        if str(error) != self._fault:
            logger.warning("reports may be told again after a crash: %s", error)
        self._fault = str(error)


def was_told(report_id: str, known: frozenset[bytes]) -> bool:
    """Whether a report is among those noted."""
    return _digest(report_id) in known


def _digest(report_id: str) -> bytes:
    return blake2b(report_id.encode(), digest_size=_SLOT_BYTES).digest()

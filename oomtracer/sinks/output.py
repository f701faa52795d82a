"""Bytes to a file descriptor that other programs share, without ever blocking the event loop.

The descriptor stays in blocking mode: O_NONBLOCK belongs to the open file, which the shell and other
programs may hold too. Instead a chunk is written only when the kernel says that there is room for it
(a pipe has room for PIPE_BUF bytes whenever it is writable). A terminal promises room for one byte only: it is
opened once more for ourselves, non-blocking.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import stat
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path

from oomtracer.errors import OutputError, errno_name

logger = logging.getLogger("oomtracer.output")

CHUNK_BYTES = select.PIPE_BUF
DEFAULT_QUEUE_BYTES = 8 << 20


class OutputWriter:
    """Writes whole reports in their order; what does not fit the queue is dropped and counted.

    ``failed`` gets an OutputError once the descriptor cannot be written any more (closed pipe, full disk).
    ``lost`` counts reports that were dropped, ``queued_bytes`` what waits.
    """

    def __init__(self, fd: int, *, name: str = "stdout", queue_bytes: int = DEFAULT_QUEUE_BYTES) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = 0
        self.queued_bytes = 0
        terminal = _own_terminal(fd)
        if terminal is not None:
            weakref.finalize(self, os.close, terminal)
        self._fd = fd if terminal is None else terminal
        self._name = name
        self._queue_bytes = queue_bytes
        self._queue: deque[tuple[bytes, Callable[[], None]]] = deque()
        self._waiting = False
        self._losing = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._drained = asyncio.Event()
        self._drained.set()

    def write(self, report: bytes, on_written: Callable[[], None] = lambda: None) -> None:
        """Queue one report, and write as much as there is room for now.

        ``on_written`` is called once all of it is written; never, if it is lost.
        """
        if self.failed.done() or self.queued_bytes + len(report) > self._queue_bytes:
            self._lose_one()
            return
        self._queue.append((report, on_written))
        self.queued_bytes += len(report)
        self._drained.clear()
        if not self._waiting:
            self._write_some()

    def _lose_one(self) -> None:
        self.lost += 1
        if not self.failed.done() and not self._losing:
            self._losing = True
            logger.error("%s takes no data: reports are being lost", self._name)

    async def flush(self, deadline_s: float) -> None:
        """Wait until all is written. Raises OutputError when that takes longer than ``deadline_s``."""
        try:
            await asyncio.wait_for(self._drained.wait(), deadline_s)
        except TimeoutError:
            self._give_up(OutputError(f"{self._name} took no data for {deadline_s:g} s: reports are lost"))
        if self.failed.done():
            self.failed.result()

    def _write_some(self) -> None:
        try:
            while self._queue:
                if not self._poll.poll(0):
                    return self._wait()
                self._write_chunk()
        except BlockingIOError:  # somebody else made the shared descriptor non-blocking
            return self._wait()
        except OSError as error:
            reason = "its reader is gone" if error.errno == errno.EPIPE else errno_name(error.errno or 0)
            return self._give_up(OutputError(f"cannot write reports to {self._name}: {reason}"))
        self._stop_waiting()
        self._losing = False
        self._drained.set()
        return None

    def _write_chunk(self) -> None:
        head, on_written = self._queue[0]
        written = os.write(self._fd, head[:CHUNK_BYTES])
        self.queued_bytes -= written
        if written == len(head):
            self._queue.popleft()
            on_written()
        else:
            self._queue[0] = head[written:], on_written

    def _wait(self) -> None:
        if not self._waiting:
            asyncio.get_running_loop().add_writer(self._fd, self._write_some)
            self._waiting = True

    def _stop_waiting(self) -> None:
        if self._waiting:
            asyncio.get_running_loop().remove_writer(self._fd)
            self._waiting = False

    def _give_up(self, error: OutputError) -> None:
        self._stop_waiting()
        self.lost += len(self._queue)
        self._queue.clear()
        self.queued_bytes = 0
        if not self.failed.done():
            self.failed.set_exception(error)
        self._drained.set()


def ends_within_a_line(fd: int) -> bool:
    """Whether a descriptor is a file whose last line was cut off, as by a process that was killed while it wrote."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        # The descriptor itself may be open for writing alone.
        with Path(f"/proc/self/fd/{fd}").open("rb", buffering=0) as file:
            return os.pread(file.fileno(), 1, status.st_size - 1) != b"\n"
    except OSError:  # not ours to read
        return False


def _own_terminal(fd: int) -> int | None:
    """The terminal behind a descriptor as an open file of our own; None where there is none to be had."""
    if not os.isatty(fd):
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # another user's terminal, as after su
        return None

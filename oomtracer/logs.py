"""The log on standard error: one safe line a message, and never a reason to wait.

A program that reads our log may stop reading. The kills come first: what standard error has no room for is
dropped, and its number told as soon as there is room again.
"""

from __future__ import annotations

import logging
import os
import select
import stat

from oomtracer.printable import printable

STDERR = 2


class _OneLine(logging.Formatter):
    """Nothing that a pod put into a name can start a line of its own or reach the terminal as a control code.

    The lines of a traceback follow indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = printable(f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}")
        if not record.exc_info:
            return line
        trace = self.formatException(record.exc_info).splitlines()
        return "\n    ".join((line, *map(printable, trace)))


class _Unblocked(logging.Handler):
    """Writes to a descriptor only what fits now."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = _never_blocking(fd)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message, or count it as dropped."""
        told = f"{self._dropped} log messages were dropped here\n" if self._dropped else ""
        text = f"{told}{self.format(record)}\n".encode("utf-8", "replace")
        try:
            if self._poll.poll(0):
                # A pipe that is writable has room for this much.
                os.write(self._fd, text[: select.PIPE_BUF])
                self._dropped = 0
            else:
                self._dropped += 1
        except OSError:  # no room after all, or nobody reads any more
            self._dropped += 1


def _never_blocking(fd: int) -> int:
    """An open file of our own behind a terminal or pipe, since O_NONBLOCK would be everybody's who shares it."""
    if not (os.isatty(fd) or stat.S_ISFIFO(os.fstat(fd).st_mode)):
        return fd
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return fd


def log_to_stderr(level: str) -> None:
    """Log messages of this level (``debug``, ``info``, ...) and above to standard error."""
    handler = _Unblocked(STDERR)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=level.upper(), handlers=[handler])

"""Reads the kernel's log once, without waiting: ``/dev/kmsg``, or syslog(2) where that cannot be opened.

Lines are parsed while they are read and not kept: the log can be as large as its machine's owner wants it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from oomtracer.backfill import grammar
from oomtracer.backfill.line import kmsg_line, syslog_lines
from oomtracer.backfill.parse import parse
from oomtracer.errors import errno_name
from oomtracer.kernel.clock import suspended_ns
from oomtracer.libbpf import read_syslog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oomtracer.backfill.line import LogLine
    from oomtracer.backfill.parse import LoggedKill

KMSG = Path("/dev/kmsg")
# What the kernel asks a reader to have room for (CONSOLE_EXT_LOG_MAX).
_RECORD_BYTES = 8192
# A log of 32 MiB has about as many; more than that is somebody who writes faster than we read.
_MOST_RECORDS = 1_000_000
_MOST_TEXT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRead:
    """What was found in the log."""

    kills: tuple[LoggedKill, ...]
    source: Literal["kmsg", "syslog"] | None
    """The interface that was read; None where none can be."""
    records: int
    overwritten: int | None
    """Records since boot that were not in the log any more; None where syslog(2) does not tell."""
    suspended_ns: int
    """How long the machine was suspended since it booted, which the log's clock does not count."""
    fault: str
    """Why the log was not, or not wholly, read; empty where it was."""


def read_log(
    path: Path = KMSG, read_text: Callable[[int], bytes] = read_syslog, most_records: int = _MOST_RECORDS
) -> LogRead:
    """All kills that the log still has. Never raises for a log that cannot be read: ``fault`` says why."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _by_syslog(read_text, f"cannot open {path}: {errno_name(error.errno or 0)}")
    try:
        return read_kmsg(lambda: os.read(fd, _RECORD_BYTES), most_records)
    finally:
        os.close(fd)


def read_kmsg(read: Callable[[], bytes], most_records: int = _MOST_RECORDS) -> LogRead:
    """Of ``/dev/kmsg``, whose every ``read`` gives a record or the errno that the kernel answers."""
    records = _Records(read, most_records)
    kills = parse(records)
    return LogRead(
        kills=tuple(kills),
        source="kmsg",
        records=records.count,
        overwritten=records.overwritten,
        suspended_ns=suspended_ns(),
        fault=records.fault,
    )


class _Records:
    """One pass over the records, with what was noticed on the way."""

    def __init__(self, read: Callable[[], bytes], most_records: int) -> None:
        self._read = read
        self._most = most_records
        self._next = 0
        self.count = 0
        self.overwritten = 0
        self.fault = ""

    def __iter__(self) -> Iterator[LogLine]:
        for _ in range(self._most):
            try:
                record = self._read()
            except BlockingIOError:
                return
            except OSError as error:
                # Overwritten before we read it; larger than any record should be: both go on behind it.
                if error.errno in (errno.EPIPE, errno.EINVAL):
                    continue
                self.fault = f"cannot read /dev/kmsg: {errno_name(error.errno or 0)}"
                return
            if not record:
                return
            if line := kmsg_line(record):
                yield self._counted(line)
        self.fault = f"the kernel's log grows faster than it can be read: {self._most} records"

    def _counted(self, line: LogLine) -> LogLine:
        assert line.sequence is not None
        self.count += 1
        self.overwritten += max(line.sequence - self._next, 0)
        self._next = line.sequence + 1
        return line


def _by_syslog(read_text: Callable[[int], bytes], fault: str) -> LogRead:
    try:
        text = read_text(_MOST_TEXT_BYTES)
    except OSError as error:
        return _nothing(f"{fault}; syslog(2): {errno_name(error.errno or 0)}")
    lines = list(syslog_lines(text, grammar))
    if text and not lines:
        return _nothing(f"{fault}; syslog(2) gives no times (kernel parameter printk.time)")
    return LogRead(
        kills=tuple(parse(lines)),
        source="syslog",
        records=len(lines),
        overwritten=None,
        suspended_ns=suspended_ns(),
        fault="",
    )


def _nothing(fault: str) -> LogRead:
    return LogRead(kills=(), source=None, records=0, overwritten=None, suspended_ns=0, fault=fault)

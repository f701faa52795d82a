r"""One record of the kernel's log, from either of its two interfaces: pure functions from bytes.

``/dev/kmsg`` gives a record at each read: ``priority,sequence,microseconds,flags[,more];text``, then lines of
``KEY=value``; what is not printable ASCII, and the backslash, is escaped as ``\xNN``. ``syslog(2)`` gives text
alone, each line behind ``<priority>[seconds.microseconds]`` and, with CONFIG_PRINTK_CALLER, ``[T123]`` or
``[C1]``; a record with line breaks is several lines with the same prefix, and nothing is escaped.

Source: Documentation/ABI/testing/dev-kmsg, kernel/printk/printk.c (5.8 to 7.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),([^,;]*)[^;]*;")
_PREFIX = re.compile(rb"<(\d{1,10})>\[ {0,20}(\d{1,14})\.(\d{6})\](\[ {0,20}[TC]\d{1,10}\])? ")
COMM_LENGTH = 15
"""Bytes of a command's name, as the kernel keeps it."""
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One record of the log."""

    time_us: int
    """Of the log's own clock: since boot, without time spent suspended, not disciplined."""
    priority: int
    """Facility and level as in ``<N>``. Facility 0 is the kernel, which no writer in user space can claim."""
    text: str
    is_fragment: bool = False
    """Surely or possibly not the start of what was printed: it may start with a name somebody chose."""
    sequence: int | None = None
    """Consecutive in ``/dev/kmsg``; syslog(2) does not tell it."""


def kmsg_line(record: bytes) -> LogLine | None:
    """What one read of ``/dev/kmsg`` gave; None where it is no record."""
    header = _HEADER.match(record)
    if header is None:
        return None
    escaped = record[header.end() :].partition(b"\n")[0]
    return LogLine(
        time_us=int(header[3]),
        priority=int(header[1]),
        text=_decoded(_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), escaped)),
        is_fragment=b"c" in header[4],
        sequence=int(header[2]),
    )


class Reading(Protocol):
    """What can be said of a line by its words."""

    def is_decisive(self, line: LogLine) -> bool:
        """Whether it is one that is believed only from the start of a record."""

    def is_whole(self, line: LogLine) -> bool:
        """Whether it is one that the kernel ends here, so that what follows is another record."""


def syslog_lines(data: bytes, reading: Reading) -> Iterator[LogLine]:
    """What syslog(2) gave, oldest first.

    Lines with the same prefix may be one record or several: some machines' clocks stand still for milliseconds,
    and whoever can choose a name that the kernel prints can put line breaks into it. Sure to start a record are
    the first of them and what follows a whole one. A command's name may break a line too: what makes sense only
    put together is put together.
    """
    run: list[LogLine] = []
    prefix = b""
    for line in data.split(b"\n"):
        match = _PREFIX.match(line)
        if match is None:  # the first may be cut
            continue
        if match[0] != prefix:
            yield from _records(run, reading)
            run, prefix = [], match[0]
        run.append(_syslog_line(match, line))
    yield from _records(run, reading)


def _syslog_line(match: re.Match[bytes], line: bytes) -> LogLine:
    time_us = int(match[2]) * 1_000_000 + int(match[3])
    return LogLine(time_us=time_us, priority=int(match[1]), text=_decoded(line[match.end() :]))


def _records(run: list[LogLine], reading: Reading) -> Iterator[LogLine]:
    is_start, i = True, 0
    while i < len(run):
        line, used = run[i], 1
        is_whole = is_start and reading.is_whole(line)
        if is_start and not is_whole and (joined := _joined(run[i : i + COMM_LENGTH + 1], reading)):
            (line, used), is_whole = joined, True
        yield line if is_start else replace(line, is_fragment=True)
        is_start, i = is_whole, i + used


def _joined(lines: list[LogLine], reading: Reading) -> tuple[LogLine, int] | None:
    for count in range(2, len(lines) + 1):
        if reading.is_decisive(lines[count - 1]):  # by itself as well: nobody knows
            return None
        whole = replace(lines[0], text="\n".join([line.text for line in lines[:count]]))
        if reading.is_decisive(whole):
            return whole, count
    return None


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")

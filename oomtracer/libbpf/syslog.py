"""The kernel's log by syslog(2), for which Python has no function (its module ``syslog`` is another thing)."""

from __future__ import annotations

import os

from oomtracer._native import ffi, lib

_READ_ALL, _SIZE_BUFFER = 3, 10
"""SYSLOG_ACTION_*: neither takes anything out of the log, and neither waits."""
# The text has a prefix on each line, which the kernel's buffer has not.
_TEXT_PER_BUFFER = 2


def read_syslog(most_bytes: int) -> bytes:
    """The newest text of the log, at most so much; needs CAP_SYSLOG where dmesg_restrict is set.

    Raises OSError.
    """
    size = min(_TEXT_PER_BUFFER * _call(_SIZE_BUFFER, ffi.NULL, 0), most_bytes)
    buffer = ffi.new("char[]", size)
    return bytes(ffi.buffer(buffer, _call(_READ_ALL, buffer, size)))


def _call(action: int, buffer: object, size: int) -> int:
    result = lib.klogctl(action, buffer, size)
    if result < 0:
        raise OSError(ffi.errno, os.strerror(ffi.errno))
    return result

"""Every error oomtracer raises on purpose, each with the remedy and the exit code.

    OomTracerError              1  something failed while working
    ├── OutputError             1  the reports' consumer is gone (closed pipe, full disk)
    ├── UsageError              2  a flag, an address or a path that cannot be right
    └── UnsupportedError        3  this kernel or these privileges cannot do it
        └── BuildMismatchError  3  the BPF object and the extension come from different builds

The command line prints an error as two lines, ``error:`` and ``hint:``; only it exits the process.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar


class OomTracerError(Exception):
    """What failed, on which object, and what to do next.

    ``hint`` is one sentence for the person in front of the terminal; an empty one is not printed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OutputError(OomTracerError):
    """Reports can no longer be written where they were asked for."""


class UsageError(OomTracerError):
    """The way the program was called cannot work anywhere."""

    exit_code = 2


class UnsupportedError(OomTracerError):
    """The call is fine; this kernel or these privileges cannot do it."""

    exit_code = 3


class BuildMismatchError(UnsupportedError):
    """The struct layout in the BPF object differs from the extension's."""


# Of the kernel itself (include/linux/errno.h): libc does not know it. bpf() answers it for fentry on some arm64.
_ENOTSUPP = 524


def errno_name(number: int) -> str:
    """``ENOENT (No such file or directory)`` for 2; other numbers that libc does not name stay numbers."""
    if number == _ENOTSUPP:
        return "ENOTSUPP (Operation is not supported)"
    return f"{errno.errorcode.get(number, f'errno {number}')} ({os.strerror(number)})"

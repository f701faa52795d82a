"""Standard input, output and error as the commands use them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from oomtracer.errors import OutputError, UsageError, errno_name


def tell(text: str) -> None:
    """Write to standard output. Raises OutputError."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A name that the terminal's encoding lacks may not hide the others.
            sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        to_null(1)
        raise OutputError(f"cannot write to stdout: {errno_name(error.errno or 0)}") from error


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End quietly what is inside once nobody reads standard output any more, as ``head`` does."""
    try:
        yield
    except OutputError as error:
        if not isinstance(error.__cause__, BrokenPipeError):
            raise


def to_null(fd: int) -> None:
    """Point a descriptor at nothing."""
    # What is left in Python's buffer would be tried again at exit, and fail again.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def require_streams() -> None:
    """Raise UsageError where standard output is closed; the others are opened on nothing."""
    # A descriptor from 0 to 2 that is closed would be given to the next file or socket that is opened.
    for fd, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        if stream is None:
            os.open(os.devnull, os.O_RDWR)
            if fd == 1:
                raise UsageError("standard output is closed", hint="redirect it to a file or /dev/null")

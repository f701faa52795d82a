"""The way in and out of the process: errors to two lines and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import typer

from oomtracer.cli.commands import cli
from oomtracer.cli.streams import require_streams, to_null
from oomtracer.errors import OomTracerError, UsageError, errno_name
from oomtracer.logs import STDERR
from oomtracer.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMITS = "look at the limits of this process: open files, processes, memory, and the space where it writes"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit the process with its code."""
    try:
        require_streams()
        code = cli(args=arguments, prog_name="oomtracer", standalone_mode=False)
    except OomTracerError as error:
        _fail(error)
    except typer.TyperException as error:
        hint = "`oomtracer --help` and `oomtracer COMMAND --help` list commands and flags"
        message = " ".join(error.format_message().split()).replace("Value error, ", "")
        _fail(UsageError(message, hint=hint))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(1)
    except (OSError, MemoryError) as error:  # too few descriptors, processes or bytes, wherever it shows
        logging.getLogger("oomtracer.cli").debug("refused", exc_info=True)
        reason = errno_name(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        to_null(1)
        _fail(OomTracerError(f"the system refused: {reason or type(error).__name__}", hint=_LIMITS))
    sys.exit(code or 0)


def _fail(error: OomTracerError) -> NoReturn:
    lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
    with suppress(OSError):  # the exit code still says it
        os.write(STDERR, "".join(f"{printable(line)}\n" for line in lines).encode("utf-8", "replace"))
    sys.exit(error.exit_code)

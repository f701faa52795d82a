"""The commands and their flags: text to one checked Config, errors to two lines and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from oomtracer import __version__
from oomtracer.config import (
    Config,
    LogLevel,
    OnUnsupported,
    OutputFormat,
    parse_ring_size,
)
from oomtracer.errors import OomTracerError, OutputError, UnsupportedError, UsageError, errno_name
from oomtracer.logs import STDERR, log_to_stderr
from oomtracer.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

cli = typer.Typer(
    name="oomtracer",
    help="Tells, for every out-of-memory kill of the Linux kernel, who was killed, whose limit was hit and why.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Output = Annotated[
    OutputFormat,
    typer.Option(
        envvar="OOMTRACER_OUTPUT", help="Reports on standard output: text, or one JSON object a line."
    ),
]
ResultOutput = Annotated[
    OutputFormat,
    typer.Option(envvar="OOMTRACER_OUTPUT", help="The result on standard output: text, or one JSON object."),
]
Level = Annotated[
    LogLevel, typer.Option(envvar="OOMTRACER_LOG_LEVEL", help="Least severe message on stderr.")
]
RingSize = Annotated[
    str, typer.Option(envvar="OOMTRACER_RING_SIZE", help="Kernel ring buffer: a power of two such as 1MiB.")
]


@cli.command(short_help="Report each OOM kill on this host until SIGTERM, SIGINT or SIGHUP.")
def run(
    *,
    output: Output = OutputFormat.AUTO,
    node_name: Annotated[
        str,
        typer.Option(
            envvar="OOMTRACER_NODE_NAME", help="Name of this machine in reports [default: host name]."
        ),
    ] = "",
    metrics_bind_address: Annotated[
        str,
        typer.Option(
            envvar="OOMTRACER_METRICS_BIND_ADDRESS",
            help="Serve /metrics, /healthz and /readyz here, such as :8080; empty: off.",
        ),
    ] = "",
    ring_size: RingSize = "1MiB",
    on_unsupported: Annotated[
        OnUnsupported,
        typer.Option(
            envvar="OOMTRACER_ON_UNSUPPORTED",
            help="Where this kernel or these privileges cannot trace: exit with 3, or stay up idle, not ready.",
        ),
    ] = OnUnsupported.EXIT,
    log_level: Level = LogLevel.INFO,
) -> None:
    """Report each OOM kill on this host until SIGTERM, SIGINT or SIGHUP."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import app

    app.run(
        Config(
            output=output,
            node_name=_checked_name(node_name or os.uname().nodename),
            ring_size_bytes=parse_ring_size(ring_size),
            metrics_bind_address=metrics_bind_address or None,
            on_unsupported=on_unsupported,
        )
    )


@cli.command(short_help="Show what this machine supports and what is missing.")
def check(
    *,
    output: ResultOutput = OutputFormat.AUTO,
    ring_size: RingSize = "1MiB",
    log_level: Level = LogLevel.WARNING,
) -> None:
    """Show what this machine supports and what is missing; exit with 3 where it cannot trace."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import check as checks

    result = checks.check(ring_size_bytes=parse_ring_size(ring_size))
    _print(checks.as_json(result) if output is OutputFormat.JSON else checks.as_text(result))
    if not result.can_trace:
        raise typer.Exit(UnsupportedError.exit_code)


@cli.command(short_help="Make one contained OOM kill and demand the right report of it.")
def selftest(*, output: ResultOutput = OutputFormat.AUTO, log_level: Level = LogLevel.WARNING) -> None:
    """Make one small, contained, real OOM kill and demand the right report of it."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import selftest as test

    result = test.selftest()
    _print(test.as_json(result) if output is OutputFormat.JSON else test.as_text(result))


@cli.command()
def version() -> None:
    """Print the version."""
    _print(f"oomtracer {__version__}\n")


def _checked_name(node_name: str) -> str:
    try:
        node_name.encode()
    except UnicodeEncodeError:
        raise UsageError("--node-name is not UTF-8", hint="give the node's name in plain letters") from None
    return node_name


_LIMITS = "look at the limits of this process: open files, processes, memory, and the space where it writes"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit the process with its code."""
    try:
        _require_streams()
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
        _to_null(1)
        _fail(OomTracerError(f"the system refused: {reason or type(error).__name__}", hint=_LIMITS))
    sys.exit(code or 0)


def _fail(error: OomTracerError) -> NoReturn:
    lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
    with suppress(OSError):  # the exit code still says it
        os.write(STDERR, "".join(f"{printable(line)}\n" for line in lines).encode("utf-8", "replace"))
    sys.exit(error.exit_code)


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _to_null(1)
        raise OutputError(f"cannot write to stdout: {errno_name(error.errno or 0)}") from error


def _to_null(fd: int) -> None:
    # What is left in Python's buffer would be tried again at exit, and fail again.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def _require_streams() -> None:
    # A descriptor from 0 to 2 that is closed would be given to the next file or socket that is opened.
    for fd, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        if stream is None:
            os.open(os.devnull, os.O_RDWR)
            if fd == 1:
                raise UsageError("standard output is closed", hint="redirect it to a file or /dev/null")


def _require_linux() -> None:
    if sys.platform != "linux":
        raise UnsupportedError(
            f"oomtracer runs on Linux, not on {sys.platform}", hint="use a Linux host or guest"
        )

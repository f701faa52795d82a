"""What ``check`` tells of the journal: whether it is one, who writes it, and how the counts agree. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oomtracer.check.rows import Row, Status
from oomtracer.errors import OomTracerError, errno_name
from oomtracer.kernel.directory_lock import holder
from oomtracer.sinks.audit_line import audit_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def rows(directory: Path | None) -> Iterator[Row]:
    """Tell it; None: there is none."""
    if directory is None:
        yield Row("journal", Status.OK, "off: reports are in memory only (--state-dir)")
        return
    from oomtracer.journal.database import NAME  # noqa: PLC0415 - SQLite, for who asks

    try:
        yield from _journal(directory) if (directory / NAME).exists() else _empty(directory)
    except OomTracerError as error:
        yield Row("journal", Status.REDUCED, error.message, error.hint)
    except OSError as error:
        hint = "run it as the agent's user, mostly root"
        yield Row(
            "journal", Status.REDUCED, f"cannot look into {directory}: {errno_name(error.errno or 0)}", hint
        )


def _empty(directory: Path) -> Iterator[Row]:
    from oomtracer.journal.directory import fault_of  # noqa: PLC0415

    fault = fault_of(directory)
    if fault:
        yield Row("journal", Status.REDUCED, f"`run` ends here: {fault.message}", fault.hint)
    elif directory.exists():
        yield Row("journal", Status.OK, f"{directory} has none yet: `run` begins it")
    else:
        yield Row("journal", Status.OK, f"{directory} is not there yet: `run` makes it")


def _journal(directory: Path) -> Iterator[Row]:
    from oomtracer.journal.reader import Reader  # noqa: PLC0415

    pid = holder(directory)
    who = f"written by process {pid}" if pid is not None else "nobody writes to it now"
    with Reader(directory) as reader:
        line = audit_line(reader)
        yield Row("journal", Status.OK, f"{directory}: {who}")
        if line:
            yield Row("audit", Status.OK, line)

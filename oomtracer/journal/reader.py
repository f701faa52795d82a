"""Reading ``journal.db`` beside the agent that writes it: nothing is made, changed or kept waiting.

Where there is a log (an agent runs, or was killed), the file is opened by SQLite's rules for readers, with the index
of the log read-only. Without a log the file is whole and nobody writes: it is read as immutable, which needs no
other file, and what was read counts only if the file is still the same afterwards. Rows are read in pages with no
transaction between them, so that a slow consumer does not keep the log from being taken into the file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from oomtracer.errors import OomTracerError, errno_name
from oomtracer.events import OomReport, Scope
from oomtracer.journal import audits, schema
from oomtracer.journal.connection import decoded
from oomtracer.journal.database import NAME
from oomtracer.journal.report_json import ReportError, from_text
from oomtracer.journal.trouble import is_corrupt

T = TypeVar("T")

PAGE_ROWS = 256
_BUSY_S = 5.0
_TRIES = 5
_DAMAGED = (sqlite3.Error, UnicodeDecodeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which reports: all that match everything that is not None."""

    since_us: int | None = None
    until_us: int | None = None
    """The first instant that is not wanted any more."""
    pod: str | None = None
    """A name, ``namespace/name``, or a uid."""
    unit: str | None = None
    scope: Scope | None = None
    last: int | None = None
    """Only so many, the newest."""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as the journal has it."""

    report: OomReport
    decision: str


class Reader:
    """Open inside its context. ``unreadable`` counts rows that hold no report of this agent's kind.

    Entering and reading raise OomTracerError.
    """

    def __init__(self, directory: Path) -> None:
        self.unreadable = 0
        self._path = directory / NAME
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, ...] | None = None
        """What the file looked like when it was opened as immutable."""

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()

    def reports(self, wanted: Wanted) -> Iterator[StoredReport]:
        """Those that are wanted, by their time, the oldest first."""
        where, values = _condition(wanted)
        key = self._first_of_last(where, values, wanted.last) if wanted.last is not None else (-1, -1)
        while rows := self._rows(
            f"SELECT time_us, n, decision, report FROM reports WHERE (time_us, n) > (?, ?){where}"  # noqa: S608
            " ORDER BY time_us, n LIMIT ?",
            (*key, *values, PAGE_ROWS),
        ):
            for time_us, n, decision, text in rows:
                key = (time_us, n)
                try:
                    yield StoredReport(from_text(text), decision)
                except ReportError:
                    self.unreadable += 1

    def audit(self) -> tuple[audits.AuditRow, int, int] | None:
        """How the counts agreed at the last look, the reports until then, and those since; None where nobody looked."""
        row = self._ask(audits.latest)
        return (row, *self._ask(lambda each: audits.reported(each, row))) if row else None

    def _first_of_last(self, where: str, values: Sequence[object], last: int) -> tuple[int, int]:
        """The key before the first row of the newest ``last`` ones."""
        rows = self._rows(
            f"SELECT time_us, n FROM reports WHERE 1{where} ORDER BY time_us DESC, n DESC LIMIT 1 OFFSET ?",  # noqa: S608
            (*values, last - 1),
        )
        return (rows[0][0], rows[0][1] - 1) if rows else (-1, -1)

    def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[int, int, str, str]]:
        return self._ask(lambda each: each.execute(statement, values).fetchall())

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        for _ in range(_TRIES):
            assert self._connection is not None
            try:
                answer = question(self._connection)
            except _DAMAGED as error:
                if not self._has_changed():
                    raise self._explained(error) from error
            else:
                if not self._has_changed():
                    return answer
            self._close()
            self._open()
        raise OomTracerError(f"{self._path} changes faster than it can be read", hint="try again")

    def _open(self) -> None:
        try:
            connection = self._connected()
        except _DAMAGED as error:
            raise self._explained(error) from error
        except OSError as error:
            raise self._refused(error) from error
        self._connection = connection
        try:
            self._identify(connection)
        except _DAMAGED as error:
            self._close()
            raise self._explained(error) from error
        except OomTracerError:
            self._close()
            raise

    def _connected(self) -> sqlite3.Connection:
        self._seen = None if self._has_log() else self._looks()
        # Opened once by ourselves, for SQLite does not say why it could not.
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        os.close(fd)
        if not is_file:
            raise self._missing()
        how = "mode=ro&readonly_shm=1" if self._seen is None else "mode=ro&immutable=1"
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?{how}", uri=True, timeout=_BUSY_S, isolation_level=None
        )
        connection.text_factory = decoded
        return connection

    def _identify(self, connection: sqlite3.Connection) -> None:
        if schema.is_blank(connection):
            raise self._missing()
        if schema.application_of(connection) != schema.APPLICATION_ID:
            raise OomTracerError(
                f"{self._path} is no journal of oomtracer", hint="give --state-dir of the agent"
            )
        version = schema.version_of(connection)
        if version > schema.VERSION:
            raise OomTracerError(
                f"{self._path} is of version {version}, newer than this program's {schema.VERSION}",
                hint="use the oomtracer of the agent that writes it",
            )
        if version < schema.VERSION:
            raise OomTracerError(
                f"{self._path} is of version {version}, older than this program's {schema.VERSION}",
                hint="start the agent of this version once, or use the oomtracer of the agent that wrote it",
            )

    def _has_log(self) -> bool:
        try:
            return Path(f"{self._path}-wal").stat().st_size > 0
        except FileNotFoundError:
            return False

    def _looks(self) -> tuple[int, ...]:
        found = self._path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _has_changed(self) -> bool:
        if self._seen is None:
            return False
        try:
            return self._has_log() or self._looks() != self._seen
        except OSError:
            return True

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _missing(self) -> OomTracerError:
        return OomTracerError(
            f"there is no journal in {self._path.parent}",
            hint="give --state-dir of an agent that runs, or ran, with one",
        )

    def _refused(self, error: OSError) -> OomTracerError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return self._missing()
        hint = "run it as the agent's user, mostly root" if isinstance(error, PermissionError) else ""
        return OomTracerError(f"cannot read {self._path}: {errno_name(error.errno or 0)}", hint=hint)

    def _explained(self, error: Exception) -> OomTracerError:
        if is_corrupt(error):
            return OomTracerError(
                f"{self._path} is damaged: {error}", hint="the agent puts it aside at its next start"
            )
        hint = f"{self._path}-wal belongs to it, and {self._path.name}-shm beside it: copy all three"
        return OomTracerError(f"cannot read {self._path}: {error}", hint=hint if self._seen is None else "")


def _condition(wanted: Wanted) -> tuple[str, list[object]]:
    """SQL that follows a condition, and its values."""
    parts: list[str] = []
    values: list[object] = []

    def add(part: str, *given: object) -> None:
        parts.append(f" AND {part}")
        values.extend(given)

    if wanted.since_us is not None:
        add("time_us >= ?", wanted.since_us)
    if wanted.until_us is not None:
        add("time_us < ?", wanted.until_us)
    if wanted.pod is not None:
        namespace, slash, name = wanted.pod.partition("/")
        if slash:
            add("namespace = ? AND pod = ?", namespace, name)
        else:
            add("(pod = ? OR pod_uid = ?)", wanted.pod, wanted.pod.lower())
    if wanted.unit is not None:
        add("unit = ?", wanted.unit)
    if wanted.scope is not None:
        add("scope = ?", wanted.scope.value)
    return "".join(parts), values

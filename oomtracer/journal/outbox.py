"""Marks and Events that outlive the process: the tables ``marks``, ``series`` and ``told``.

What is said here is written in the order in which it is said, like everything in the journal; nobody waits for
it but a mark that is about to be sent, and that not for long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import Any, Protocol

from oomtracer.deliveries import RememberedEvents, RememberedMark, RememberedSeries, Told
from oomtracer.events import Owner
from oomtracer.journal.reports import Delivery, decide, settle

logger = logging.getLogger("oomtracer.journal")

TABLES = (
    # Marks that were made, or sent and perhaps made.
    """CREATE TABLE marks (
        n INTEGER PRIMARY KEY,
        incident TEXT NOT NULL UNIQUE,
        pod_uid TEXT NOT NULL,
        namespace TEXT NOT NULL,
        owner_kind TEXT,
        owner_name TEXT,
        reason TEXT NOT NULL,
        made INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        boot_time_ns INTEGER NOT NULL,
        time_us INTEGER NOT NULL
    )""",
    # Events that may still count up, or of which something is untold. The times are those of the last kill.
    """CREATE TABLE series (
        n INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        key TEXT NOT NULL,
        event TEXT NOT NULL,
        count INTEGER NOT NULL,
        last_time TEXT NOT NULL,
        told INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        boot_time_ns INTEGER NOT NULL,
        time_us INTEGER NOT NULL
    )""",
    # Incidents that are counted in a series.
    """CREATE TABLE told (
        n INTEGER PRIMARY KEY,
        incident TEXT NOT NULL,
        uid TEXT NOT NULL,
        what TEXT NOT NULL,
        UNIQUE (incident, uid, what)
    )""",
)
MOST_MARKS = 4_096
MOST_SERIES = 1_024
"""What the sink holds: it ends series itself, so that there are never more of one process."""
MOST_TOLD = 4_096
PATIENCE_S = 1.0
"""What a mark waits for the disk."""

_KIND = "deliveries"


class Submit(Protocol):
    """``Journal.submit``."""

    def __call__(
        self, operation: Callable[[Connection], Any], *, kind: str, size_bytes: int
    ) -> asyncio.Future[Any]:
        """Run an operation in the journal's thread."""


class Moments:
    """Times as the journal keeps them, and how long ago they are: by the boot clock where that still runs."""

    def __init__(
        self,
        boot_id: str,
        *,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self._boot_id = boot_id
        self._boot_clock = boot_clock
        self._unix_clock = unix_clock

    def row(self, ago_s: float) -> tuple[str, int, int]:
        """Boot id, boot nanoseconds and Unix microseconds."""
        return (
            self._boot_id,
            round((self._boot_clock() - ago_s) * 1e9),
            round((self._unix_clock() - ago_s) * 1e6),
        )

    def ago_s(self, boot_id: str, boot_time_ns: int, time_us: int) -> float:
        """Seconds since then; 0 where the clock says that it is still to come."""
        if boot_id == self._boot_id:
            return max(self._boot_clock() - boot_time_ns / 1e9, 0.0)
        return max(self._unix_clock() - time_us / 1e6, 0.0)


class _Outbox:
    """What both have: the way into the journal. ``failed`` counts what the journal refused."""

    keeps = True

    def __init__(self, submit: Submit, moments: Moments) -> None:
        self.failed = 0
        self._submit = submit
        self._moments = moments

    def _write(
        self, operation: Callable[[Connection], None], *, size_bytes: int = 512
    ) -> asyncio.Future[None]:
        answer = self._submit(operation, kind=_KIND, size_bytes=size_bytes)
        answer.add_done_callback(self._check)
        return answer

    def _check(self, answer: asyncio.Future[None]) -> None:
        if not answer.cancelled() and (error := answer.exception()):
            self.failed += 1
            if self.failed == 1:
                logger.error("the state of a delivery was not kept, it may be repeated: %s", error)


class MarkTable(_Outbox):
    """The outbox of marks."""

    async def load(self) -> list[RememberedMark]:
        """The marks that were made or are in doubt, the oldest first."""
        columns = "incident, pod_uid, namespace, owner_kind, owner_name, reason, made, boot_id, boot_time_ns, time_us"
        rows = await self._submit(
            lambda each: each.execute(f"SELECT {columns} FROM marks ORDER BY n").fetchall(),  # noqa: S608
            kind=_KIND,
            size_bytes=0,
        )
        marks = [self._remembered(*row) for row in rows]
        return sorted(marks, key=lambda mark: -mark.ago_s)

    def decided(self, report_id: str, decision: str) -> None:
        """A report that needs no mark (any more) has had its decision."""
        self._write(lambda each: _decide(each, report_id, decision))

    async def sending(self, mark: RememberedMark) -> None:
        """A mark is about to be sent for the first time; return once that is kept, or cannot be soon."""
        moment = self._moments.row(mark.ago_s)
        await asyncio.wait({self._write(lambda each: _send(each, mark, moment))}, timeout=PATIENCE_S)

    def ended(self, report_id: str, incident: str, decision: str, *, made: bool, in_doubt: bool) -> None:
        """A mark came to its end; one that was neither made nor is in doubt has spent nothing."""

        def end(connection: Connection) -> None:
            if made:
                connection.execute("UPDATE marks SET made = 1 WHERE incident = ?", (incident,))
            elif not in_doubt:
                connection.execute("DELETE FROM marks WHERE incident = ?", (incident,))
            _decide(connection, report_id, decision)

        self._write(end)

    def _remembered(  # noqa: PLR0913, PLR0917 - a row
        self,
        incident: str,
        pod_uid: str,
        namespace: str,
        owner_kind: str | None,
        owner_name: str | None,
        reason: str,
        made: int,
        *moment: Any,
    ) -> RememberedMark:
        return RememberedMark(
            incident=incident,
            pod_uid=pod_uid,
            namespace=namespace,
            owner=Owner(kind=owner_kind, name=owner_name) if owner_kind and owner_name else None,
            reason=reason,
            ago_s=self._moments.ago_s(*moment),
            is_made=bool(made),
        )


class EventTable(_Outbox):
    """The outbox of Events."""

    async def load(self) -> RememberedEvents:
        """The series in the order in which they began, and the incidents in them."""
        columns = "name, key, event, count, last_time, told, boot_id, boot_time_ns, time_us"

        def read(connection: Connection) -> tuple[list[Any], list[Any]]:
            connection.execute(
                "DELETE FROM series WHERE n IN (SELECT n FROM series ORDER BY n DESC LIMIT -1 OFFSET ?)",
                (MOST_SERIES,),
            )
            series = connection.execute(f"SELECT {columns} FROM series ORDER BY n").fetchall()  # noqa: S608
            return series, connection.execute("SELECT incident, uid, what FROM told ORDER BY n").fetchall()

        series, told = await self._submit(read, kind=_KIND, size_bytes=0)
        return RememberedEvents(
            series=tuple(self._remembered(*row) for row in series), told=tuple(Told(*row) for row in told)
        )

    def finished(self, report_ids: Sequence[str]) -> None:
        """No Event is owed for these reports any more."""
        if report_ids:
            self._write(lambda each: settle(each, report_ids, Delivery.EVENT))

    def recorded(self, series: RememberedSeries, told: Told, report_ids: Sequence[str]) -> None:
        """An incident was counted in its series, and with it these reports are finished: all of that or nothing."""
        moment = self._moments.row(series.ago_s)

        def record(connection: Connection) -> None:
            _put(connection, series, moment)
            _tell(connection, told)
            settle(connection, report_ids, Delivery.EVENT)

        self._write(record, size_bytes=len(series.event) + 64 * len(report_ids) + 512)

    def told(self, name: str, count: int) -> None:
        """The API server has the Event with that count; 0: not any more."""
        self._write(lambda each: _execute(each, "UPDATE series SET told = ? WHERE name = ?", count, name))

    def ended(self, name: str) -> None:
        """The series has ended, whether all of it was told or not."""
        self._write(lambda each: _execute(each, "DELETE FROM series WHERE name = ?", name))

    def _remembered(
        self, name: str, key: str, event: str, count: int, last_time: str, told: int, *moment: Any
    ) -> RememberedSeries:
        return RememberedSeries(
            name=name,
            key=key,
            event=event,
            count=count,
            last_time=last_time,
            told=told,
            ago_s=self._moments.ago_s(*moment),
        )


def _execute(connection: Connection, statement: str, *values: object) -> None:
    connection.execute(statement, values)


def _decide(connection: Connection, report_id: str, decision: str) -> None:
    decide(connection, report_id, decision)
    settle(connection, [report_id], Delivery.MARK)


def _send(connection: Connection, mark: RememberedMark, moment: tuple[str, int, int]) -> None:
    owner = (mark.owner.kind, mark.owner.name) if mark.owner else (None, None)
    connection.execute(
        "INSERT OR REPLACE INTO marks (incident, pod_uid, namespace, owner_kind, owner_name, reason, made, boot_id,"
        " boot_time_ns, time_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (mark.incident, mark.pod_uid, mark.namespace, *owner, mark.reason, mark.is_made, *moment),
    )
    _keep_newest(connection, "marks", MOST_MARKS)


def _put(connection: Connection, series: RememberedSeries, moment: tuple[str, int, int]) -> None:
    # Its place stays that of its first kill.
    connection.execute(
        "INSERT INTO series (name, key, event, count, last_time, told, boot_id, boot_time_ns, time_us)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET count = excluded.count, last_time = excluded.last_time,"
        " boot_id = excluded.boot_id, boot_time_ns = excluded.boot_time_ns, time_us = excluded.time_us",
        (series.name, series.key, series.event, series.count, series.last_time, series.told, *moment),
    )


def _tell(connection: Connection, told: Told) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO told (incident, uid, what) VALUES (?, ?, ?)",
        (told.incident, told.uid, told.what),
    )
    _keep_newest(connection, "told", MOST_TOLD)


def _keep_newest(connection: Connection, table: str, most: int) -> None:
    connection.execute(
        f"DELETE FROM {table} WHERE n <= (SELECT max(n) FROM {table}) - ?",  # noqa: S608 - a name of ours
        (most,),
    )

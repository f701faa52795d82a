"""Events that outlive the process."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any

from oomtracer.deliveries import RememberedEvents, RememberedSeries, Told
from oomtracer.journal.outbox import KIND, Outbox, keep_newest
from oomtracer.journal.reports import Delivery, settle

MOST_SERIES = 1_024
"""What the sink holds: it ends series itself, so that there are never more of one process."""
MOST_TOLD = 4_096


class EventTable(Outbox):
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

        series, told = await self.submit(read, kind=KIND, size_bytes=0)
        return RememberedEvents(
            series=tuple(self._remembered(*row) for row in series), told=tuple(Told(*row) for row in told)
        )

    def finished(self, report_ids: Sequence[str]) -> None:
        """No Event is owed for these reports any more."""
        if report_ids:
            self.write(lambda each: settle(each, report_ids, Delivery.EVENT))

    def recorded(self, series: RememberedSeries, told: Told, report_ids: Sequence[str]) -> None:
        """An incident was counted in its series, and with it these reports are finished: all of that or nothing."""
        moment = self.moments.row(series.ago_s)

        def record(connection: Connection) -> None:
            _put(connection, series, moment)
            _tell(connection, told)
            settle(connection, report_ids, Delivery.EVENT)

        self.write(record, size_bytes=len(series.event) + 64 * len(report_ids) + 512)

    def told(self, name: str, count: int) -> None:
        """The API server has the Event with that count; 0: not any more."""
        self.write(lambda each: _execute(each, "UPDATE series SET told = ? WHERE name = ?", count, name))

    def ended(self, name: str) -> None:
        """The series has ended, whether all of it was told or not."""
        self.write(lambda each: _execute(each, "DELETE FROM series WHERE name = ?", name))

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
            ago_s=self.moments.ago_s(*moment),
        )


def _execute(connection: Connection, statement: str, *values: object) -> None:
    connection.execute(statement, values)


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
    keep_newest(connection, "told", MOST_TOLD)

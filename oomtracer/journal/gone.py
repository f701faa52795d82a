"""Kills of this boot whose reports have left the journal: the kernel's log may have them still, and they were told.

A few bytes for each, of the newest ones. For the rest there is an instant alone: the log's kills from before it are
taken for told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

TABLES = (
    """CREATE TABLE recovered (
        boot_id TEXT NOT NULL PRIMARY KEY,
        until_ns INTEGER NOT NULL
    )""",
    """CREATE TABLE gone (
        n INTEGER PRIMARY KEY,
        pid INTEGER NOT NULL,
        tid INTEGER,
        comm TEXT NOT NULL,
        boot_time_ns INTEGER NOT NULL
    )""",
)


def upgrade(connection: sqlite3.Connection) -> None:
    """A journal of version 1 had the instant alone."""
    connection.execute(TABLES[1])


def until_ns(connection: sqlite3.Connection, boot_id: str) -> int:
    """The instant, in nanoseconds of the boot clock; 0 where all that have left are known by themselves."""
    found = connection.execute("SELECT until_ns FROM recovered WHERE boot_id = ?", (boot_id,)).fetchone()
    return int(found[0]) if found else 0


def of_boot(connection: sqlite3.Connection, boot_id: str) -> list[tuple[int, int | None, str, int]]:
    """Process id, thread id, command, and nanoseconds of the boot clock."""
    if connection.execute("SELECT 1 FROM recovered WHERE boot_id = ?", (boot_id,)).fetchone() is None:
        return []
    return connection.execute("SELECT pid, tid, comm, boot_time_ns FROM gone ORDER BY n").fetchall()


def note(
    connection: sqlite3.Connection, boot_id: str, which: str, values: Sequence[object], *, kept: int
) -> None:
    """Take note of the reports that ``which``, a query for their ``n``, finds; at most ``kept`` stay known."""
    _begin(connection, boot_id)
    victim = [f"json_extract(report, '$.victim.{name}')" for name in ("pid", "tid", "comm")]
    added = connection.execute(
        f"INSERT INTO gone (pid, tid, comm, boot_time_ns) SELECT {', '.join(victim)}, boot_time_ns FROM reports"  # noqa: S608
        f" WHERE boot_id = ? AND n IN ({which}) AND json_valid(report)",
        (boot_id, *values),
    ).rowcount
    if added:
        _forget(connection, boot_id, kept)


def _begin(connection: sqlite3.Connection, boot_id: str) -> None:
    """The kernel's log of another boot is no more."""
    if connection.execute("DELETE FROM recovered WHERE boot_id != ?", (boot_id,)).rowcount:
        connection.execute("DELETE FROM gone")
    connection.execute("INSERT OR IGNORE INTO recovered (boot_id, until_ns) VALUES (?, 0)", (boot_id,))


def _forget(connection: sqlite3.Connection, boot_id: str, kept: int) -> None:
    old = "n <= (SELECT max(n) FROM gone) - ?"
    latest = connection.execute(f"SELECT max(boot_time_ns) FROM gone WHERE {old}", (kept,)).fetchone()[0]  # noqa: S608
    if latest is not None:
        connection.execute(
            "UPDATE recovered SET until_ns = max(until_ns, ?) WHERE boot_id = ?", (latest, boot_id)
        )
        connection.execute(f"DELETE FROM gone WHERE {old}", (kept,))  # noqa: S608

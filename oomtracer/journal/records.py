"""Operations on raw records: the bytes that the kernel's ring held."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN = -(1 << 62)
"""Counts of stored records begin here where those before were not counted: the journal is younger than the ring."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a ring, which a number of 16 hexadecimal digits names."""

    ring: str
    position: int
    """Where it ends in the ring: of two records of a ring, the later one's is greater."""
    record: bytes


def store(connection: sqlite3.Connection, ring: str, records: Sequence[tuple[int, bytes]]) -> list[bool]:
    """Keep them, each by where it ends in its ring; False: it was there, and its report has been made."""
    insert = "INSERT OR IGNORE INTO records (ring, position, record) VALUES (?, ?, ?)"
    new = [connection.execute(insert, (ring, position, record)).rowcount == 1 for position, record in records]
    count_stored(connection, ring, sum(new))
    return [
        is_new or not _is_done(connection, ring, position)
        for is_new, (position, _) in zip(new, records, strict=True)
    ]


def _is_done(connection: sqlite3.Connection, ring: str, position: int) -> bool:
    query = "SELECT done FROM records WHERE ring = ? AND position = ?"
    return bool(connection.execute(query, (ring, position)).fetchone()[0])


def begin(connection: sqlite3.Connection, ring: str) -> None:
    """A ring is new: all that it will ever hold is stored here, or lost."""
    connection.execute("INSERT OR IGNORE INTO rings (ring, stored) VALUES (?, 0)", (ring,))


def count_stored(connection: sqlite3.Connection, ring: str, count: int) -> None:
    """So many more records of a ring are stored, or are known to be lost."""
    connection.execute(
        "INSERT INTO rings (ring, stored) VALUES (?, ?) ON CONFLICT (ring) DO UPDATE SET stored = stored + ?",
        (ring, UNKNOWN + count, count),
    )


def stored(connection: sqlite3.Connection, ring: str) -> int | None:
    """How many records of a ring were stored since it was made; less than 0 if counted from UNKNOWN, None: none."""
    found = connection.execute("SELECT stored FROM rings WHERE ring = ?", (ring,)).fetchone()
    return int(found[0]) if found else None


def finish(connection: sqlite3.Connection, done: Sequence[tuple[str, int]]) -> None:
    """Say that these (ring, position) have their reports, or will never have one."""
    connection.executemany("UPDATE records SET done = 1 WHERE ring = ? AND position = ?", done)


def unfinished(connection: sqlite3.Connection) -> list[RawRecord]:
    """Those without a report, in the order in which they were stored."""
    rows = connection.execute("SELECT ring, position, record FROM records WHERE done = 0 ORDER BY n")
    return [RawRecord(*row) for row in rows]


def last_finished(connection: sqlite3.Connection, count: int) -> list[RawRecord]:
    """The last so many with a report, the oldest first."""
    rows = connection.execute(
        "SELECT ring, position, record FROM records WHERE done = 1 ORDER BY n DESC LIMIT ?", (count,)
    ).fetchall()
    return [RawRecord(*row) for row in reversed(rows)]

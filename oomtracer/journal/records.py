"""Operations on raw records: the bytes that the kernel's ring held."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a ring, which a number of 16 hexadecimal digits names."""

    ring: str
    seq: int
    record: bytes


def store(connection: sqlite3.Connection, ring: str, records: Sequence[tuple[int, bytes]]) -> None:
    """Keep them; those that are there already stay as they are."""
    connection.executemany(
        "INSERT OR IGNORE INTO records (ring, seq, record) VALUES (?, ?, ?)",
        [(ring, seq, record) for seq, record in records],
    )


def finish(connection: sqlite3.Connection, done: Sequence[tuple[str, int]]) -> None:
    """Say that these (ring, seq) have their reports, or will never have one."""
    connection.executemany("UPDATE records SET done = 1 WHERE ring = ? AND seq = ?", done)


def unfinished(connection: sqlite3.Connection) -> list[RawRecord]:
    """Those without a report, in the order in which they were stored."""
    rows = connection.execute("SELECT ring, seq, record FROM records WHERE done = 0 ORDER BY n")
    return [RawRecord(*row) for row in rows]


def last_finished(connection: sqlite3.Connection, count: int) -> list[RawRecord]:
    """The last so many with a report, the oldest first."""
    rows = connection.execute(
        "SELECT ring, seq, record FROM records WHERE done = 1 ORDER BY n DESC LIMIT ?", (count,)
    ).fetchall()
    return [RawRecord(*row) for row in reversed(rows)]


def last_seq(connection: sqlite3.Connection, ring: str) -> int | None:
    """The highest sequence number of a ring; None: nothing is kept of it."""
    found: int | None = connection.execute("SELECT max(seq) FROM records WHERE ring = ?", (ring,)).fetchone()[
        0
    ]
    return found

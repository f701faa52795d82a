"""Operations on audits: what the kernel's count and the agent's said last, one row for each ring."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TABLES = (
    """CREATE TABLE audits (
        ring TEXT NOT NULL PRIMARY KEY,
        boot_id TEXT NOT NULL,
        since_ns INTEGER NOT NULL,
        since_us INTEGER NOT NULL,
        until_us INTEGER NOT NULL,
        counts TEXT NOT NULL
    )""",
)
_MOST = 64
_COLUMNS = "ring, boot_id, since_ns, since_us, until_us, counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """``since`` is when the programs were attached, ``until`` when a look last found other counts than before."""

    ring: str
    boot_id: str
    since_ns: int
    since_us: int
    until_us: int
    counts: Mapping[str, Any]
    """The members of a verdict, by their names."""


def keep(connection: sqlite3.Connection, row: AuditRow) -> None:
    """Keep what is known now of a ring, in the place of what was."""
    values = (row.ring, row.boot_id, row.since_ns, row.since_us, row.until_us, json.dumps(row.counts))
    connection.execute(f"INSERT OR REPLACE INTO audits ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
    connection.execute(
        "DELETE FROM audits WHERE ring NOT IN (SELECT ring FROM audits ORDER BY rowid DESC LIMIT ?)",
        (_MOST,),
    )


def of_ring(connection: sqlite3.Connection, ring: str) -> AuditRow | None:
    """The last of a ring."""
    found = connection.execute(f"SELECT {_COLUMNS} FROM audits WHERE ring = ?", (ring,)).fetchone()  # noqa: S608
    return _row(found) if found else None


def latest(connection: sqlite3.Connection) -> AuditRow | None:
    """The last of all."""
    query = f"SELECT {_COLUMNS} FROM audits ORDER BY rowid DESC LIMIT 1"  # noqa: S608
    found = connection.execute(query).fetchone()
    return _row(found) if found else None


def reported(connection: sqlite3.Connection, row: AuditRow) -> tuple[int, int]:
    """How many reports there are of kills that the kernel had counted up to the row's last look, and since then."""
    looked_ns = row.since_ns + (row.until_us - row.since_us) * 1_000
    query = (
        "SELECT count(*) FILTER (WHERE boot_time_ns <= ?), count(*) FILTER (WHERE boot_time_ns > ?)"
        " FROM reports WHERE boot_id = ? AND boot_time_ns >= ? AND source != 'kmsg'"
        " AND CASE WHEN json_valid(report) THEN json_extract(report, '$.outcome') = 'killed'"
        " AND NOT json_extract(report, '$.shared_memory') END"
    )
    until, later = connection.execute(query, (looked_ns, looked_ns, row.boot_id, row.since_ns)).fetchone()
    return int(until), int(later)


def _row(values: tuple[str, str, int, int, int, str]) -> AuditRow:
    ring, boot_id, since_ns, since_us, until_us, counts = values
    return AuditRow(
        ring=ring,
        boot_id=boot_id,
        since_ns=since_ns,
        since_us=since_us,
        until_us=until_us,
        counts=json.loads(counts),
    )

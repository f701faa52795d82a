"""Up to when the kernel's log of a boot has been gone through: what is older was told, even if it is not kept any more."""

from __future__ import annotations

import sqlite3

TABLES = (
    """CREATE TABLE recovered (
        boot_id TEXT NOT NULL PRIMARY KEY,
        until_ns INTEGER NOT NULL
    )""",
)


def until_ns(connection: sqlite3.Connection, boot_id: str) -> int:
    """Nanoseconds of the boot clock; 0 where nothing was gone through."""
    found = connection.execute("SELECT until_ns FROM recovered WHERE boot_id = ?", (boot_id,)).fetchone()
    return int(found[0]) if found else 0


def advance(connection: sqlite3.Connection, boot_id: str, instant_ns: int) -> None:
    """All that was before this instant has been told, or will not be."""
    connection.execute("DELETE FROM recovered WHERE boot_id != ?", (boot_id,))
    connection.execute(
        "INSERT INTO recovered (boot_id, until_ns) VALUES (?, ?)"
        " ON CONFLICT (boot_id) DO UPDATE SET until_ns = max(until_ns, excluded.until_ns)",
        (boot_id, instant_ns),
    )

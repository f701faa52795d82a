"""The tables of ``journal.db``, and how a file of an older agent becomes one of ours.

``PRAGMA application_id`` names the file as oomtracer's, ``PRAGMA user_version`` the version of its tables. Times
are integers: Unix microseconds (``_us``) and nanoseconds of the boot clock (``_ns``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from oomtracer.journal import audits, gone, outbox

APPLICATION_ID = 0x6F6F6D74
"""``oomt`` in ASCII."""
VERSION = 2

TABLES = (
    # Raw records of the kernel's ring. done: its report is in `reports`, or it will never have one.
    """CREATE TABLE records (
        n INTEGER PRIMARY KEY,
        ring TEXT NOT NULL,
        position INTEGER NOT NULL,
        record BLOB NOT NULL,
        done INTEGER NOT NULL DEFAULT 0,
        UNIQUE (ring, position)
    )""",
    "CREATE INDEX records_by_done ON records (done, n)",
    # How many records of each ring were stored, those that were removed since too.
    "CREATE TABLE rings (ring TEXT NOT NULL PRIMARY KEY, stored INTEGER NOT NULL)",
    # One row for each killed process. share: whose part of the journal it takes. pending: a bit for each delivery
    # that is still owed. report: the whole OomReport as JSON.
    """CREATE TABLE reports (
        n INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        boot_id TEXT NOT NULL,
        boot_time_ns INTEGER NOT NULL,
        time_us INTEGER NOT NULL,
        source TEXT NOT NULL,
        scope TEXT NOT NULL,
        share TEXT NOT NULL,
        namespace TEXT,
        pod TEXT,
        pod_uid TEXT,
        unit TEXT,
        selftest INTEGER NOT NULL,
        decision TEXT NOT NULL DEFAULT '',
        pending INTEGER NOT NULL DEFAULT 0,
        report TEXT NOT NULL
    )""",
    "CREATE INDEX reports_by_time ON reports (time_us, n)",
    "CREATE INDEX reports_by_boot ON reports (boot_id, boot_time_ns)",
    "CREATE INDEX reports_by_share ON reports (share, n) WHERE pending = 0",
    "CREATE INDEX reports_owed ON reports (n) WHERE pending != 0",
)

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: Mapping[int, Migration] = {1: gone.upgrade}
"""Version n: what makes a file of version n one of version n + 1, inside a transaction."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, inside the caller's transaction."""
    for statement in (*TABLES, *outbox.TABLES, *audits.TABLES, *gone.TABLES):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def migrate(
    connection: sqlite3.Connection,
    *,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    version: int = VERSION,
) -> int:
    """Bring an older file to ``version``, inside the caller's transaction: all steps or none.

    Return the version that it had.
    """
    found = version_of(connection)
    for step in range(found, version):
        migrations[step](connection)
        connection.execute(f"PRAGMA user_version = {step + 1}")
    return found


def lacks(connection: sqlite3.Connection, like: sqlite3.Connection) -> set[tuple[str, str]]:
    """The columns, as (table, column), that a new journal has and this one has not."""
    return _columns(like) - _columns(connection)


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(
        connection.execute(
            "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
            " WHERE tables.type = 'table'"
        )
    )


def version_of(connection: sqlite3.Connection) -> int:
    """The version of its tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def application_of(connection: sqlite3.Connection) -> int:
    """Whose file it is."""
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever made in it: a new file, or one whose maker was killed before its first commit."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables and not application_of(connection) and not version_of(connection)


def take_in(connection: sqlite3.Connection) -> int:
    """Add what the attached database ``older`` has and this one has not; tell how many reports.

    Deliveries that were owed are not taken up again: days may have passed, and the time of the mark and of the
    Event with them.
    """
    connection.execute(
        "INSERT OR IGNORE INTO main.records (ring, position, record)"
        " SELECT ring, position, record FROM older.records WHERE done = 0 ORDER BY n"
    )
    columns = [row[1] for row in connection.execute("PRAGMA table_info(reports)")]
    same = ", ".join(name for name in columns if name not in ("n", "pending"))
    return connection.execute(
        f"INSERT OR IGNORE INTO main.reports ({same}) SELECT {same} FROM older.reports ORDER BY n"  # noqa: S608
    ).rowcount

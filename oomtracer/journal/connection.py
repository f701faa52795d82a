"""Connections to a journal: how they are set up, and what is asked of a file before it is written."""

from __future__ import annotations

import sqlite3
import threading

from oomtracer.journal import schema

CHECK_AT_MOST_S = 1.0
"""A cold file of 64 MiB takes about as long on a slow disk. What is not found is found when it is read."""
_WAL_PAGES = 1000
_WAL_BYTES = 4 << 20
_CACHE_KIB = 256
STATEMENTS = 32


def configure(connection: sqlite3.Connection) -> None:
    """Set what holds for this connection, and the log mode of the file."""
    connection.text_factory = decoded
    for pragma in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        f"wal_autocheckpoint = {_WAL_PAGES}",
        f"journal_size_limit = {_WAL_BYTES}",
        f"cache_size = -{_CACHE_KIB}",
        # Nothing of a transaction reaches the disk before its commit, and none needs a writable /tmp.
        "cache_spill = OFF",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def decoded(text: bytes) -> str:
    """Text of a file that may be damaged."""
    return text.decode("utf-8", "replace")


def stand_in() -> sqlite3.Connection:
    """An empty journal in memory, for answers while there is no other."""
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=STATEMENTS)
    connection.execute("PRAGMA temp_store = MEMORY")
    schema.create(connection)
    return connection


def check(connection: sqlite3.Connection, at_most_s: float = CHECK_AT_MOST_S) -> None:
    """Look for damage, for so long at most. Raises sqlite3.DatabaseError."""
    timer = threading.Timer(at_most_s, connection.interrupt)
    timer.start()
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        timer.cancel()
        timer.join()
    if found != "ok":
        raise damaged(found)


def lacks(connection: sqlite3.Connection) -> str:
    """The columns that a journal has and this one has not; empty: it has them all."""
    new = stand_in()
    try:
        return ", ".join(sorted(f"{table}.{column}" for table, column in schema.lacks(connection, new)))
    finally:
        new.close()


def damaged(what: str) -> sqlite3.DatabaseError:
    """As SQLite's own error of a file that is corrupt."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error

"""Which errors of SQLite are the disk's or the file's, and which are a defect of the caller."""

from __future__ import annotations

import sqlite3

_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Busy: somebody else holds the file's write lock, as a person with the sqlite3 shell does.
_TROUBLE = _CORRUPT | {
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT),
}


def _code(error: BaseException) -> int | None:
    # The low byte; the others say more precisely what happened. Errors that Python itself raises have none.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code and code & 0xFF


def is_trouble(error: BaseException) -> bool:
    """Whether it can work later, or with another file: full, failing, read-only, locked or broken."""
    return isinstance(error, OSError) or _code(error) in _TROUBLE


def is_corrupt(error: BaseException) -> bool:
    """Whether the file itself is broken, or no database at all."""
    # The module cannot tell the names in a broken schema otherwise.
    return _code(error) in _CORRUPT or isinstance(error, UnicodeDecodeError)


def is_busy(error: BaseException) -> bool:
    """Whether somebody else holds the file for a moment, and nothing is wrong with it."""
    return _code(error) == sqlite3.SQLITE_BUSY


def is_full(error: BaseException) -> bool:
    """Whether only room is missing: what is on the disk can still be read."""
    return _code(error) == sqlite3.SQLITE_FULL

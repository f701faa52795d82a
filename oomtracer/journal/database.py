"""Opening ``journal.db``: made, checked, migrated, or set aside."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from oomtracer.journal import aside, schema
from oomtracer.journal.connection import STATEMENTS, check, configure, damaged, lacks
from oomtracer.journal.directory import StateDirectory
from oomtracer.journal.trouble import is_corrupt, is_trouble

logger = logging.getLogger("oomtracer.journal")

NAME = "journal.db"
_BUSY_S = 1.0
_LEAST_BYTES = 512
_MAGIC = b"SQLite format 3\0"


class Database:
    """The file in its directory. ``set_aside`` counts files that were put aside, by why."""

    def __init__(
        self,
        directory: Path,
        *,
        version: int = schema.VERSION,
        migrations: Mapping[int, schema.Migration] = schema.MIGRATIONS,
    ) -> None:
        self.directory = StateDirectory(directory)
        self.path = directory / NAME
        self.set_aside: dict[str, int] = {}
        self._inode = 0
        self._version = version
        self._migrations = migrations

    def connect(self) -> sqlite3.Connection:
        """Open it for writing, in this thread.

        Raises StateDirectoryError and DirectoryHeldError, and sqlite3.Error and OSError where it is in trouble.
        """
        self.directory.hold()
        connection = self._opened_or_fresh()
        try:
            self._take_in(connection)
            self.directory.sync()
        except BaseException:
            connection.close()
            raise
        return connection

    def condemn(self, reason: str) -> None:
        """Put the file aside: it turned out to be broken. Raises OSError."""
        self._put_aside("corrupt", f"is broken ({reason})")

    def sync(self) -> None:
        """Make what was committed outlast a power failure. Raises OSError, also where the file is gone."""
        if self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(self.path))
        fd = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def _opened_or_fresh(self) -> sqlite3.Connection:
        if self._is_cut_off():
            self._put_aside("corrupt", "is cut off")
        elif self._is_of_unknown_format():
            self._put_aside("corrupt", "is of a file format that SQLite can only read, or not even that")
        try:
            return self._opened()
        except _NotOursError as error:
            self._put_aside(error.why, str(error))
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not is_corrupt(error):
                raise
            self.condemn(str(error))
        return self._opened()

    def _is_cut_off(self) -> bool:
        """Whether it is shorter than any database: SQLite would take it for a new one."""
        size_bytes = _size(self.path)
        # An empty one without a log is of an agent that was killed before the first byte: nothing is lost.
        return 0 < size_bytes < _LEAST_BYTES or (size_bytes == 0 and _size(Path(f"{self.path}-wal")) > 0)

    def _is_of_unknown_format(self) -> bool:
        """Whether SQLite would call it read-only, for ever: bytes 18 and 19 of a database are 1, or 2 for WAL."""
        if not _size(self.path):
            return False
        with self.path.open("rb") as file:
            header = file.read(20)
        return header.startswith(_MAGIC) and max(header[18:]) > 2

    def _opened(self) -> sqlite3.Connection:
        # SQLite gives the log and the index the permissions of the file.
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._inode = os.fstat(fd).st_ino
        os.close(fd)
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=rw",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
            cached_statements=STATEMENTS,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        blank = self._inspect(connection)
        connection.execute("BEGIN IMMEDIATE")
        if schema.is_blank(connection):
            schema.create(connection)
        found = schema.migrate(connection, migrations=self._migrations, version=self._version)
        if missing := lacks(connection):
            raise damaged(f"no column {missing} is in it")
        connection.execute("COMMIT")
        if found != self._version and not blank:
            logger.info("%s was of version %d, and is of version %d now", self.path, found, self._version)

    def _inspect(self, connection: sqlite3.Connection) -> bool:
        """Set the connection up; tell whether the file is new. Raises where it is not ours, or damaged."""
        try:
            blank = schema.is_blank(connection)
            if blank:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            else:
                self._identify(connection)
            configure(connection)
            if not blank:
                check(connection)
        except sqlite3.Error as error:
            # What else SQLite has to say of a file, such as "unsupported file format", does not pass either.
            raise error if is_trouble(error) else damaged(str(error)) from error
        return blank

    def _identify(self, connection: sqlite3.Connection) -> None:
        if schema.application_of(connection) != schema.APPLICATION_ID:
            raise _NotOursError("foreign", "is no journal of oomtracer")
        found = schema.version_of(connection)
        if found > self._version:
            raise _NotOursError(
                f"version-{found}", f"is of version {found}, newer than this agent's {self._version}"
            )
        if any(step not in self._migrations for step in range(found, self._version)):
            raise _NotOursError("foreign", f"is of version {found}, of which no agent ever was")

    def _put_aside(self, why: str, explanation: str) -> None:
        aside.set_aside(self.path, why, explanation)
        self.set_aside[why] = self.set_aside.get(why, 0) + 1

    def _take_in(self, connection: sqlite3.Connection) -> None:
        """Add what a newer agent had written before it was rolled back."""
        for path in aside.of_other_versions(self.path, self._version):
            try:
                count = self._copy(connection, path)
            except (sqlite3.Error, _NotOursError) as error:
                logger.warning("%s could not be taken in again: %s", path, error)
                continue
            aside.remove(path)
            logger.info("%s was taken in again: %d reports", path, count)

    def _copy(self, connection: sqlite3.Connection, path: Path) -> int:
        older = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None)
        try:
            self._identify(older)
            older.execute("BEGIN IMMEDIATE")
            schema.migrate(older, migrations=self._migrations, version=self._version)
            older.execute("COMMIT")
        finally:
            older.close()
        connection.execute("ATTACH ? AS older", (str(path),))
        try:
            return schema.take_in(connection)
        finally:
            connection.execute("DETACH older")


class _NotOursError(Exception):
    """Not a file that this agent can write."""

    def __init__(self, why: str, explanation: str) -> None:
        super().__init__(explanation)
        self.why = why


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

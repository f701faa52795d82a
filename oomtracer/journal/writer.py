"""What the journal's thread does: transactions, and memory where the disk takes none.

While the file cannot be written, operations run where nothing lasts, for their answers, and wait in the backlog:
in a transaction of the file that stays open where only room is missing, else in an empty stand-in in memory.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from oomtracer.errors import OomTracerError
from oomtracer.journal.connection import stand_in
from oomtracer.journal.database import Database
from oomtracer.journal.operation import Backlog, Operation
from oomtracer.journal.trouble import is_busy, is_corrupt, is_full, is_trouble

logger = logging.getLogger("oomtracer.journal")

SYNC_AFTER_S = 1.0
"""A power failure loses at most what was committed in this time."""
RETRY_AFTER_S = 5.0
RETRY_AT_MOST_EVERY_S = 1.0
"""With each operation, but not more often: each try writes the whole backlog."""

_TROUBLES = (sqlite3.Error, OSError, OomTracerError)


class Writer:
    """Runs operations in order. Used by one thread alone; its attributes may be read by others.

    ``fault`` is empty while the file can be written, ``deferred`` counts operations that had to wait.
    """

    def __init__(
        self, database: Database, backlog: Backlog, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.fault = ""
        self.deferred = 0
        self.backlog = backlog
        self._database = database
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._scratch: sqlite3.Connection | None = None
        self._unsynced_since_s: float | None = None
        self._tried_s = 0.0

    def start(self) -> None:
        """Open the file. Raises OomTracerError where that can never work; else goes on in memory."""
        try:
            self._connection = self._database.connect()
        except OomTracerError:
            self._database.directory.release()
            raise
        except _TROUBLES as error:
            self._fail(error)

    def run(self, operations: Sequence[Operation]) -> None:
        """Run each in order and commit them together; settle each."""
        if self.fault:
            self._run_in_memory(operations)
        else:
            self._run(operations)
        for each in operations:
            each.settle()

    def due_in_s(self) -> float | None:
        """Seconds until ``tend`` has something to do; None: not before the next operation."""
        if self.fault:
            return max(self._tried_s + RETRY_AFTER_S - self._clock(), 0.0)
        if self._unsynced_since_s is not None:
            return max(self._unsynced_since_s + SYNC_AFTER_S - self._clock(), 0.0)
        return None

    def tend(self) -> None:
        """Do what is due: try the file again, or make the last commits last."""
        if self.due_in_s() != 0:
            return
        if self.fault:
            self._retry()
        else:
            self.sync()

    def also(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do other work in a transaction of its own, where the file can be written."""
        if self._connection is None or self.fault:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            work(self._connection)
            self._connection.execute("COMMIT")
        except _TROUBLES as error:
            self._fail(error)

    def sync(self) -> None:
        """Make what was committed outlast a power failure."""
        if self.fault or self._connection is None or self._unsynced_since_s is None:
            return
        try:
            self._database.sync()
        except _TROUBLES as error:
            self._fail(error)
        self._unsynced_since_s = None

    def close(self) -> int:
        """Write what waits, move the log into the file and close it; tell how many operations are lost."""
        if self.fault:
            self._retry()
        if self._connection is not None:
            with suppress(*_TROUBLES):
                _roll_back(self._connection)
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._drop_connections()
        self._database.directory.release()
        return len(self.backlog)

    def _run(self, operations: Sequence[Operation]) -> None:
        assert self._connection is not None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for each in operations:
                each.attempt(self._connection)
            self._connection.execute("COMMIT")
        except _TROUBLES as error:
            self._fail(error)
            self._run_in_memory(operations)
        else:
            if self._unsynced_since_s is None:
                self._unsynced_since_s = self._clock()

    def _run_in_memory(self, operations: Sequence[Operation]) -> None:
        self.deferred += len(operations)
        try:
            for each in operations:
                each.attempt(self._place())
        except _TROUBLES:
            self._to_stand_in(operations)
        if self.backlog.add(operations):
            self._forget_scratch()
        for each in operations:  # before the disk is tried, which may take its time
            each.settle()
        if self._clock() >= self._tried_s + RETRY_AT_MOST_EVERY_S:
            self._retry()

    def _place(self) -> sqlite3.Connection:
        """Where operations run for their answers, with what waits already in it."""
        if self._scratch is None:
            scratch = self._connection if self._connection is not None else stand_in()
            self._rehearse(scratch)
            self._scratch = scratch
        return self._scratch

    def _to_stand_in(self, operations: Sequence[Operation]) -> None:
        self._drop_connections()
        for each in operations:
            each.attempt(self._place())

    def _rehearse(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for each in self.backlog:
            each.attempt(connection)

    def _retry(self) -> None:
        self._tried_s = self._clock()
        waited = len(self.backlog)
        try:
            self._write_backlog()
        except _TROUBLES as error:
            self._fail(error)
            return
        logger.warning("the journal is written again: %d operations had waited", waited)
        self.fault = ""
        self._unsynced_since_s = self._clock()

    def _write_backlog(self) -> None:
        if self._connection is None:
            connection = self._database.connect()
            self._drop_connections()
            self._connection = connection
        if self._scratch is None:
            self._rehearse(self._connection)
        self._connection.execute("COMMIT")
        self._scratch = None
        self.backlog.clear()

    def _fail(self, error: BaseException) -> None:
        """Go on in memory: the file could not be opened, written or read."""
        if not isinstance(error, OomTracerError) and not is_trouble(error):
            logger.error("a defect of the journal", exc_info=error)
        text = f"the journal cannot be written: {error}"
        if text != self.fault:
            logger.error("%s: it goes on in memory, and is tried again", text)
        if not self.fault:
            self._tried_s = self._clock()
        self.fault = text
        self._unsynced_since_s = None
        if is_full(error) and self._connection is not None:
            self._forget_scratch()
            return
        self._drop_connections()
        if is_corrupt(error):
            self._condemn(error)
        if not is_busy(error):
            # So that the file system can be unmounted and another be mounted in its place.
            self._database.directory.release()

    def _condemn(self, error: BaseException) -> None:
        with suppress(OSError):
            self._database.condemn(str(error))
            self._tried_s = -RETRY_AFTER_S  # a new file can be had at once

    def _forget_scratch(self) -> None:
        if self._scratch is not None and self._scratch is not self._connection:
            self._scratch.close()
        self._scratch = None
        if self._connection is not None:
            _roll_back(self._connection)

    def _drop_connections(self) -> None:
        for each in {self._connection, self._scratch} - {None}:
            assert each is not None
            with suppress(sqlite3.Error):
                each.close()
        self._connection = self._scratch = None


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")

"""Marks and Events that outlive the process: the tables ``marks``, ``series`` and ``told``.

What is said here is written in the order in which it is said, like everything in the journal; nobody waits for
it but a mark that is about to be sent, and that not for long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from sqlite3 import Connection
from typing import Any, Protocol

logger = logging.getLogger("oomtracer.journal")

TABLES = (
    # Marks that were made, or sent and perhaps made.
    """CREATE TABLE marks (
        n INTEGER PRIMARY KEY,
        incident TEXT NOT NULL UNIQUE,
        pod_uid TEXT NOT NULL,
        namespace TEXT NOT NULL,
        owner_kind TEXT,
        owner_name TEXT,
        reason TEXT NOT NULL,
        made INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        boot_time_ns INTEGER NOT NULL,
        time_us INTEGER NOT NULL
    )""",
    # Events that may still count up, or of which something is untold. The times are those of the last kill.
    """CREATE TABLE series (
        n INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        key TEXT NOT NULL,
        event TEXT NOT NULL,
        count INTEGER NOT NULL,
        last_time TEXT NOT NULL,
        told INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        boot_time_ns INTEGER NOT NULL,
        time_us INTEGER NOT NULL
    )""",
    # Incidents that are counted in a series.
    """CREATE TABLE told (
        n INTEGER PRIMARY KEY,
        incident TEXT NOT NULL,
        uid TEXT NOT NULL,
        what TEXT NOT NULL,
        UNIQUE (incident, uid, what)
    )""",
)
KIND = "deliveries"


class Submit(Protocol):
    """``Journal.submit``."""

    def __call__(
        self, operation: Callable[[Connection], Any], *, kind: str, size_bytes: int
    ) -> asyncio.Future[Any]:
        """Run an operation in the journal's thread."""


class Moments:
    """Times as the journal keeps them, and how long ago they are: by the boot clock where that still runs."""

    def __init__(
        self,
        boot_id: str,
        *,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self._boot_id = boot_id
        self._boot_clock = boot_clock
        self._unix_clock = unix_clock

    def row(self, ago_s: float) -> tuple[str, int, int]:
        """Boot id, boot nanoseconds and Unix microseconds."""
        return (
            self._boot_id,
            round((self._boot_clock() - ago_s) * 1e9),
            round((self._unix_clock() - ago_s) * 1e6),
        )

    def ago_s(self, boot_id: str, boot_time_ns: int, time_us: int) -> float:
        """Seconds since then; 0 where the clock says that it is still to come."""
        if boot_id == self._boot_id:
            return max(self._boot_clock() - boot_time_ns / 1e9, 0.0)
        return max(self._unix_clock() - time_us / 1e6, 0.0)


class Outbox:
    """The way into the journal. ``failed`` counts what the journal refused."""

    keeps = True

    def __init__(self, submit: Submit, moments: Moments) -> None:
        self.failed = 0
        self.submit = submit
        self.moments = moments

    def write(
        self, operation: Callable[[Connection], None], *, size_bytes: int = 512
    ) -> asyncio.Future[None]:
        """Write soon, after all that was written before; nobody need wait for it."""
        answer = self.submit(operation, kind=KIND, size_bytes=size_bytes)
        answer.add_done_callback(self._check)
        return answer

    def _check(self, answer: asyncio.Future[None]) -> None:
        if not answer.cancelled() and (error := answer.exception()):
            self.failed += 1
            if self.failed == 1:
                logger.error("the state of a delivery was not kept, it may be repeated: %s", error)


def keep_newest(connection: Connection, table: str, most: int) -> None:
    """Remove the oldest rows of a table that only grows."""
    connection.execute(
        f"DELETE FROM {table} WHERE n <= (SELECT max(n) FROM {table}) - ?",  # noqa: S608 - a name of ours
        (most,),
    )

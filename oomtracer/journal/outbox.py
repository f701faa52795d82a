"""Marks and Events that outlive the process: the tables ``marks``, ``series`` and ``told``.

What is said here is written in the order in which it is said, like everything in the journal; nobody waits for
it but a mark that is about to be sent, and that not for long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from sqlite3 import Connection
from typing import Any, Protocol

from oomtracer.kernel.moments import Moments

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

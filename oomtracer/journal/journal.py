"""The journal as the rest of the agent sees it: coroutines in front of the thread that writes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from oomtracer.journal import records, reports
from oomtracer.journal.database import Database
from oomtracer.journal.operation import RAW, Backlog, Operation
from oomtracer.journal.reports import ReportRow
from oomtracer.journal.retention import Retention
from oomtracer.journal.thread import WriterThread
from oomtracer.journal.writer import Writer

logger = logging.getLogger("oomtracer.journal")

T = TypeVar("T")
U = TypeVar("U")

MOST_WAITING = 4096
MOST_WAITING_BYTES = 4 << 20
"""What is kept in memory while the disk takes nothing."""
PATIENCE_S = 10.0
"""What ``store`` and ``add`` wait for a disk that does not answer at all, before they go on without it."""
_ROW_BYTES = 4096
_IDS_KNOWN = 1024


class JournalHangsError(TimeoutError):
    """The disk does not answer, and no more can wait for it."""


class Journal:
    """Made by ``start``; ``close`` ends it.

    What is submitted is run in that order. Where the file cannot be written, it is answered from memory and
    written later; ``fault`` says why, and is empty while all is well.
    """

    def __init__(self, directory: Path, retention: Retention, *, patience_s: float = PATIENCE_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._database = Database(directory)
        self._backlog = Backlog(most=MOST_WAITING, most_bytes=MOST_WAITING_BYTES)
        self._writer = Writer(self._database, self._backlog)
        self._retention = retention
        self._thread = WriterThread(self._writer, retention)
        self._patience_s = patience_s
        self._waiting = 0
        self._waiting_bytes = 0
        self._hangs = False
        self._dropped: Counter[str] = Counter()
        self._ids: dict[str, None] = {}

    async def start(self) -> None:
        """Open the file and start the thread.

        Raises OomTracerError where the directory cannot be right or another agent holds it. A disk or a
        permission that is in the way is a ``fault`` instead.
        """
        self._thread.start()
        opened = asyncio.wrap_future(self._thread.opened)
        if not await self._is_answered(opened):
            opened.add_done_callback(self._opened_late)
        else:
            opened.result()

    @property
    def fault(self) -> str:
        """Why the file cannot be written at the moment; empty: it can."""
        return "the journal's disk does not answer" if self._hangs else self._writer.fault

    @property
    def in_memory(self) -> int:
        """Operations that wait for the disk."""
        return len(self._backlog) + (self._waiting if self._hangs else 0)

    @property
    def deferred_total(self) -> int:
        """Operations that had to wait for the disk."""
        return self._writer.deferred

    @property
    def dropped_total(self) -> Mapping[str, int]:
        """Operations that the disk never took, by kind: ``records``, ``reports``, or what was submitted."""
        # Copied at once: the thread counts, too.
        return Counter(dict(self._backlog.dropped)) + self._dropped

    @property
    def set_aside(self) -> Mapping[str, int]:
        """Files that were put aside, by why."""
        return dict(self._database.set_aside)

    @property
    def evicted_total(self) -> Mapping[str, int]:
        """Reports that were removed, by reason: ``age``, ``size``, ``owed``."""
        return dict(self._retention.evicted)

    def submit(
        self, operation: Callable[[Connection], T], *, kind: str = "other", size_bytes: int = 512
    ) -> asyncio.Future[T]:
        """Run ``operation`` in the journal's thread, after all that was submitted before; answer when committed.

        It is atomic: what it raises undoes it, and nothing else, and is raised to who waits. It may be run several
        times, also on a copy without the older rows where the file cannot be read; so it changes nothing but the
        connection's database, and does not begin or end transactions.
        """
        answer: asyncio.Future[T] = self._loop.create_future()
        answer.add_done_callback(_ignore)  # not everybody waits
        if self._hangs and not self._has_room(size_bytes):
            self._dropped[kind] += 1
            answer.set_exception(JournalHangsError(self.fault))
            return answer
        self._waiting += 1
        self._waiting_bytes += size_bytes

        def deliver(settled: Operation) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer, answer, settled)

        self._thread.put(Operation(operation, kind, size_bytes, deliver))
        return answer

    async def ask(self, operation: Callable[[Connection], T], instead: U) -> T | U:
        """Run ``operation`` as ``submit`` does, and wait; ``instead`` stands for a disk that does not answer at all."""
        answer: asyncio.Future[T | U] = self.submit(operation)
        return await self._patiently(answer, instead)

    async def store(self, ring: str, raw: Sequence[tuple[int, bytes]]) -> list[bool]:
        """Keep raw records (position, bytes) of a ring. They may be released to the kernel after it.

        False stands for one that was there.
        """
        size_bytes = sum(len(record) for _, record in raw)
        answer = self.submit(lambda each: records.store(each, ring, raw), kind=RAW, size_bytes=size_bytes)
        return await self._patiently(answer, [True] * len(raw))

    async def add(self, rows: Sequence[ReportRow], done: Sequence[tuple[str, int]] = ()) -> list[bool]:
        """Keep reports, and say that the raw records (ring, position) are done.

        False stands for one whose id was there.
        """
        answer = self.submit(
            lambda each: reports.add(each, rows, done),
            kind="reports",
            size_bytes=_ROW_BYTES * len(rows) + 128,
        )
        return await self._patiently(answer, [self._is_new(row.report.id) for row in rows])

    async def close(self, deadline_s: float = 5.0) -> int:
        """Write what was submitted, and close the file; tell how many operations are lost.

        After ``deadline_s`` a disk that does not answer is left alone: what it did not take is lost.
        """
        self._thread.stop()
        try:
            lost = await asyncio.wait_for(asyncio.wrap_future(self._thread.closed), deadline_s)
        except TimeoutError:
            lost = self._waiting + len(self._backlog)
        if lost:
            logger.error("%d operations of the journal are lost: %s", lost, self.fault or "no time was left")
        return lost

    def _is_new(self, report_id: str) -> bool:
        """Whether it is none of the last ids, for a disk that does not answer."""
        is_new = report_id not in self._ids
        self._ids[report_id] = None
        if len(self._ids) > _IDS_KNOWN:
            del self._ids[next(iter(self._ids))]
        return is_new

    def _has_room(self, size_bytes: int) -> bool:
        return self._waiting < MOST_WAITING and self._waiting_bytes + size_bytes <= MOST_WAITING_BYTES

    def _answer(self, answer: asyncio.Future[T], settled: Operation) -> None:
        self._waiting -= 1
        self._waiting_bytes -= settled.size_bytes
        if not self._waiting:  # until then it may be a disk that stands still again and again
            self._answers()
        if answer.done():
            return
        if settled.defect is not None:
            answer.set_exception(settled.defect)
        else:
            answer.set_result(settled.result)

    async def _patiently(self, answer: asyncio.Future[T], instead: T) -> T:
        try:
            return answer.result() if await self._is_answered(answer) else instead
        except JournalHangsError:
            return instead

    async def _is_answered(self, answer: asyncio.Future[T]) -> bool:
        # A disk that hung a moment ago is not waited for once more.
        done, _ = await asyncio.wait({answer}, timeout=0.0 if self._hangs else self._patience_s)
        if not done and not self._hangs:
            self._hangs = True
            logger.error(
                "the journal's disk has not answered for %g s: going on without it", self._patience_s
            )
        return bool(done)

    def _opened_late(self, opened: asyncio.Future[None]) -> None:
        if opened.cancelled():
            return
        error = opened.exception()
        if error is None:
            self._answers()
        else:
            logger.error("the journal is not written until the next start: %s", error)

    def _answers(self) -> None:
        if self._hangs:
            self._hangs = False
            logger.warning("the journal's disk answers again")


def _ignore(answer: asyncio.Future[T]) -> None:
    """Take note of its error, if any: nobody waits for it."""
    if not answer.cancelled():
        answer.exception()

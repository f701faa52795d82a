"""Kills of this boot that only the kernel's log knows: from before the programs were there."""

from __future__ import annotations

import asyncio
import logging
from itertools import compress
from typing import TYPE_CHECKING

from oomtracer.app.audit import SOUND_AGAIN_S
from oomtracer.backfill import KnownKill, read_log, recover
from oomtracer.journal import Delivery, ReportRow, gone, reports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from oomtracer.backfill.reader import LogRead
    from oomtracer.events import OomReport
    from oomtracer.journal import Journal

logger = logging.getLogger("oomtracer.app")

_MOST_TOLD = 8192


class Recovery:
    """``run`` reads the log once, and tells what nobody has told. ``recovered`` counts that.

    A sink too: what is told while the log is read is known.
    """

    def __init__(
        self,
        *,
        boot_id: str,
        node: str,
        attached_ns: int,
        journal: Journal | None,
        tell: Callable[[OomReport], None],
    ) -> None:
        """``attached_ns`` is when the programs were attached: what came later, the ring had, or it is lost."""
        self.recovered = 0
        self._boot_id = boot_id
        self._node = node
        self._attached_ns = attached_ns
        self._journal = journal
        self._tell = tell
        self._told: list[KnownKill] | None = []

    def emit(self, report: OomReport) -> None:
        """Take note of a kill that is told."""
        if self._told is not None and len(self._told) < _MOST_TOLD:
            victim = report.victim
            self._told.append(
                KnownKill(
                    id=report.id,
                    pid=victim.pid,
                    tid=victim.tid,
                    comm=victim.comm,
                    boot_time_ns=report.boot_time_ns,
                )
            )

    async def run(self, caught_up: Callable[[], Awaitable[None]]) -> int:
        """Once ``caught_up``, the ring's kills are known. Waits until the journal's are.

        Return how many of the kills were after the programs were attached, as far as the log's clock tells that: the
        ring had them, and whoever read it did not keep them.
        """
        if self._has_fault():
            logger.warning("the kernel's log is gone through once the journal tells what was told before")
        while True:
            while self._has_fault():  # noqa: ASYNC110 - it is a thread's word, and seldom
                await asyncio.sleep(SOUND_AGAIN_S)
            # In a thread: the log can have 100,000s of lines, and takes a second then.
            log = await asyncio.to_thread(read_log)
            await caught_up()
            kept = await self._kept()
            until_ns = await self._until_ns()
            if not self._has_fault():
                return await self._tell_new(log, kept, until_ns)

    def _has_fault(self) -> bool:
        return bool(self._journal and self._journal.fault)

    async def _tell_new(self, log: LogRead, kept: Sequence[KnownKill], until_ns: int) -> int:
        if log.fault:
            logger.warning("kills of the kernel's log: %s", log.fault)
        known, self._told = [*(self._told or ()), *kept], None
        found = recover(
            log, known, boot_id=self._boot_id, node=self._node, before_boot_time_ns=self._attached_ns
        )
        # What is older may have been told, and have left the journal so long ago that it does not know it.
        new = await self._new([report for report in found.reports if report.boot_time_ns > until_ns])
        for report in new:
            self._tell(report)
            self.recovered += 1
        if log.source:
            text = "kernel log: %d kills told now; %d were told before, %d came after the programs"
            logger.info(text, self.recovered, found.matched, found.later)
        return sum(report.boot_time_ns >= self._attached_ns for report in new)

    async def _kept(self) -> list[KnownKill]:
        if self._journal is None:
            return []
        rows = await self._journal.submit(lambda each: reports.of_boot(each, self._boot_id))
        left = await self._journal.submit(lambda each: gone.of_boot(each, self._boot_id))
        return [
            KnownKill.of(each) for each in (*rows, *((f"gone {i}", *each) for i, each in enumerate(left)))
        ]

    async def _until_ns(self) -> int:
        if self._journal is None:
            return 0
        return await self._journal.submit(lambda each: gone.until_ns(each, self._boot_id))

    async def _new(self, recovered: Sequence[OomReport]) -> Sequence[OomReport]:
        if self._journal is None:
            return recovered
        # Never a mark or an Event: a kill of the past is nothing to act upon.
        rows = [ReportRow(report=report, pending=Delivery.STDOUT) for report in recovered]
        return list(compress(recovered, await self._journal.add(rows)))

"""Kills of this boot that only the kernel's log knows: from before the programs were there."""

from __future__ import annotations

import asyncio
import logging
from itertools import compress
from typing import TYPE_CHECKING

from oomtracer.backfill import KnownKill, read_log, recover
from oomtracer.journal import Delivery, ReportRow, reports
from oomtracer.journal import recovered as journaled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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

    async def run(self, caught_up: Callable[[], Awaitable[None]]) -> None:
        """Once ``caught_up``, the ring's kills are known."""
        if self._journal and self._journal.fault:
            logger.warning("the kernel's log is not gone through: what was told before is not known")
            return
        # In a thread: the log can have 100,000s of lines, and takes a second then.
        log = await asyncio.to_thread(read_log)
        if log.fault:
            logger.warning("kills of the kernel's log: %s", log.fault)
        await caught_up()
        known, self._told = [*(self._told or ()), *await self._kept()], None
        found = recover(
            log, known, boot_id=self._boot_id, node=self._node, before_boot_time_ns=self._attached_ns
        )
        for report in await self._new(await self._not_told(found.reports)):
            self._tell(report)
            self.recovered += 1
        if log.source:
            text = "kernel log: %d kills told now; %d were told before, %d came after the programs"
            logger.info(text, self.recovered, found.matched, found.later)

    async def _kept(self) -> list[KnownKill]:
        if self._journal is None:
            return []
        rows = await self._journal.submit(lambda each: reports.of_boot(each, self._boot_id))
        return [
            KnownKill(id=report_id, pid=pid, tid=tid, comm=comm, boot_time_ns=boot_time_ns)
            for report_id, pid, tid, comm, boot_time_ns in rows
        ]

    async def _not_told(self, recovered: Sequence[OomReport]) -> Sequence[OomReport]:
        """Without those that were told, and have left the journal since."""
        if self._journal is None:
            return recovered
        until_ns = await self._journal.submit(lambda each: journaled.until_ns(each, self._boot_id))
        return [report for report in recovered if report.boot_time_ns > until_ns]

    async def _new(self, recovered: Sequence[OomReport]) -> Sequence[OomReport]:
        if self._journal is None:
            return recovered
        # Never a mark or an Event: a kill of the past is nothing to act upon.
        rows = [ReportRow(report=report, pending=Delivery.STDOUT) for report in recovered]
        new = list(compress(recovered, await self._journal.add(rows)))
        self._journal.submit(
            lambda each: journaled.advance(each, self._boot_id, self._attached_ns), kind="audit"
        )
        return new

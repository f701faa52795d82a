"""From the attached programs to the sinks, with what is kept of it on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from oomtracer.app.audit import Auditor, vanished
from oomtracer.pipeline import Intake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from oomtracer.app.book import JournalBook
    from oomtracer.app.resume import Resume
    from oomtracer.audit import Verdict
    from oomtracer.pipeline import Pipeline
    from oomtracer.tracer import Tracer

LOSSES = ("in_hand", "decode", "attribute", "sink")
"""Stages that are counted here."""
LAST_LOOK_S = 1.0
"""So long is read on at the end while the kernel still records."""


class Tracing:
    """Made once the programs are attached.

    ``pipeline`` keeps count. ``lost_at_start`` are kills of another boot, of which nothing but the raw record was left.
    """

    def __init__(
        self,
        tracer: Tracer,
        pipeline: Pipeline,
        book: JournalBook | None,
        *,
        lost_behind: Callable[[], Mapping[str, int]],
    ) -> None:
        """``lost_behind`` is asked for losses outside of the kernel."""
        self.pipeline = pipeline
        self.lost_at_start = 0
        self.lost_in_hand = 0
        self._tracer = tracer
        self._book = book
        self._intake = Intake(tracer, pipeline, book)
        self._auditor = Auditor(
            tracer, reported=lambda: pipeline.reported, lost=lost_behind, on_verdict=self._keep
        )
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def verdict(self) -> Verdict:
        """What the last look at the counts showed."""
        return self._auditor.verdict

    def _keep(self, verdict: Verdict) -> None:
        if self._book:
            self._book.keep_verdict(self._tracer.instance, self._tracer.attached_ns, verdict)

    async def take_up(self, resume: Resume, boot_id: str) -> None:
        """Tell what an agent before this one had only stored."""
        if self._book:
            if not self._tracer.is_adopted:
                self._book.begin(self._tracer.instance)
            await self._book.recall_log()
            told = await self._book.losses_told(self._tracer.instance, self._tracer.replaced)
            self._auditor.told(told)
        await resume.attribute(boot_id, self.pipeline, self._intake)

    def lost(self) -> dict[str, int]:
        """Records of which no report was made, and reports that a sink failed to take."""
        pipeline = self.pipeline
        return {
            "in_hand": self.lost_in_hand,
            "decode": pipeline.undecodable,
            "attribute": pipeline.unattributable + self.lost_at_start,
            "sink": pipeline.untold,
        }

    def start(self) -> list[asyncio.Task[Any]]:
        """Take what the kernel has, and watch over the counts. None of these tasks ends by itself."""
        self._tasks = [
            asyncio.create_task(self._intake.run(), name="intake"),
            asyncio.create_task(self._auditor.run(), name="audit"),
        ]
        return self._tasks

    async def reconcile(self, recovered: int) -> None:
        """Count what a process before this one has taken with it; the kernel's log gave so many of these back."""
        if self._book:
            missing = await vanished(self._tracer, self._book, self.caught_up) or 0
            self.lost_in_hand = max(missing - recovered, 0)

    async def caught_up(self) -> None:
        """Wait until all that the kernel has now is told."""
        self._intake.caught_up.clear()
        self._intake.look()
        await self._intake.caught_up.wait()

    async def stop(self) -> None:
        """Compare the counts for the last time, detach, and take what is still there. Raises what ended a task."""
        intake, audit = self._tasks
        audit.cancel()
        await self._auditor.finish()  # before nobody watches any more
        self._tracer.stop()
        self._intake.stop()
        await intake
        # Pinned programs go on: what comes now is for the next agent.
        await self._intake.finish(LAST_LOOK_S if self._tracer.is_pinned else None)
        await asyncio.gather(audit, return_exceptions=True)
        if not audit.cancelled():
            audit.result()

"""Holds the kernel's count of kills against the agent's, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from oomtracer.audit import (
    PROGRAM_STAGES,
    SETTLED_SECONDS,
    Audit,
    Processed,
    Reading,
    Verdict,
)
from oomtracer.kernel import facts
from oomtracer.kernel.clock import boot_clock

if TYPE_CHECKING:
    from oomtracer.app.book import JournalBook
    from oomtracer.tracer import Tracer

logger = logging.getLogger("oomtracer.app")

_TRIES = 20
SOUND_AGAIN_S = 1.0
"""So often is looked whether the journal can be written again."""
INTERVAL_S = 10.0
"""A loss is told so soon, and at the end."""


class Auditor:
    """``run`` looks at the counts again and again; ``verdict`` is what the last look showed.

    ``lost`` are the losses that happened behind the ring, by stage; ``reported`` counts reports.
    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        reported: Callable[[], int],
        lost: Callable[[], Mapping[str, int]],
        on_verdict: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        self._tracer = tracer
        self._reported = reported
        self._lost = lost
        self._on_verdict = on_verdict
        self._audit = Audit(tracer.baseline, sees_signals=tracer.sees_signals)
        self.verdict = Verdict()

    def told(self, lost: Mapping[str, int]) -> None:
        """Begin anew, with losses that a process before this one has told."""
        self._audit = Audit(self._tracer.baseline, sees_signals=self._tracer.sees_signals, told=lost)

    async def run(self) -> None:
        """Until cancelled."""
        self.look()
        while True:
            await asyncio.sleep(SETTLED_SECONDS if self.verdict.recheck else INTERVAL_S)
            self._tracer.heartbeat()
            self.look()

    async def finish(self) -> None:
        """Look once more, and again if that is needed to be sure."""
        if self.look().recheck:
            await asyncio.sleep(SETTLED_SECONDS)
            self.look()

    def look(self) -> Verdict:
        """Compare now, and tell losses that were not told before."""
        reading = read(self._tracer)
        self.verdict = self._audit.observe(reading, Processed(reported=self._reported(), lost=self._lost()))
        for line in self.verdict.log:
            logger.error("%s", line)
        self._on_verdict(self.verdict)
        return self.verdict


def read(tracer: Tracer) -> Reading:
    """The program's counts between two looks at the kernel's."""
    return Reading.take(
        clock=boot_clock,
        vmstat=facts.oom_kills_since_boot,
        counters=tracer.counted_now,
    )


async def vanished(tracer: Tracer, book: JournalBook, caught_up: Callable[[], Awaitable[None]]) -> int | None:
    """How many records an agent had taken out of the ring in use and not stored when it was killed.

    Waits until the journal can be written. None where that cannot be said: the journal does not go back as far as
    the ring, or kills come all the time.
    """
    for _ in range(_TRIES):
        while not book.is_sound():  # noqa: ASYNC110 - it is a thread's word, and seldom
            await asyncio.sleep(SOUND_AGAIN_S)
        before = tracer.counted_now()
        await caught_up()
        stored = await book.stored(tracer.instance)
        counted = tracer.counted_now()
        if counted.attempted != before.attempted:
            continue
        made = counted.attempted - sum(getattr(counted, stage) for stage in PROGRAM_STAGES)
        if not book.is_sound():
            continue
        if stored is None:
            return None
        if missing := made - stored:
            book.write_off(tracer.instance, missing)
        return None if stored < 0 else max(missing, 0)
    return None

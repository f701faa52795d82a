"""The rate of our writes to the API server: so many per second, with bursts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class WriteLimiter:
    """Lets writers pass first come, first served: any ``t`` seconds see at most ``burst + qps * t`` of them.

    ``qps`` and ``burst`` are at least some rate and 1; the configuration has checked them.
    """

    def __init__(
        self,
        *,
        qps: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.waiting = 0
        """Writers in the queue."""
        self._interval_s = 1 / qps
        self._credit_s = (burst - 1) * self._interval_s
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()  # asyncio's locks are fair
        # When all who passed would have passed at an even rate.
        self._even_s = -float("inf")

    async def acquire(self) -> None:
        """Wait for the right to send one write; who is cancelled meanwhile has used none."""
        self.waiting += 1
        try:
            async with self._turn:
                await self._wait()
                self._even_s = max(self._even_s, self._clock()) + self._interval_s
        finally:
            self.waiting -= 1

    async def _wait(self) -> None:
        early_s = self._even_s - self._credit_s - self._clock()
        if early_s > 0:
            await self._sleep(early_s)

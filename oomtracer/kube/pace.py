"""A bound on requests that holds whatever goes wrong, in whatever order."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

_PERIOD_S: Final = 60.0


class Pace:
    """Lets so many requests pass in any minute, and holds back the next one."""

    def __init__(
        self, *, a_minute: int, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._passed_s: deque[float] = deque(maxlen=a_minute)
        self._clock = clock
        self._sleep = sleep

    async def wait(self) -> None:
        """Wait until one more request is all right."""
        if len(self._passed_s) == self._passed_s.maxlen:
            early_s = self._passed_s[0] + _PERIOD_S - self._clock()
            if early_s > 0:
                await self._sleep(early_s)
        self._passed_s.append(self._clock())

"""A clock that a test moves by hand, with the timers of an event loop."""

from __future__ import annotations

import heapq
import itertools


class Timer:
    """What ``call_later`` returns."""

    def __init__(self, callback) -> None:
        self.callback = callback

    def cancel(self) -> None:
        """Never call it."""
        self.callback = None


class VirtualClock:
    """Time stands still until ``advance`` is called."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Timer]] = []

    def time(self) -> float:
        """Seconds since some instant."""
        return self.now

    def call_later(self, delay: float, callback) -> Timer:
        """Call back once that much later."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (self.now + delay, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what falls due in its order."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if timer.callback:
                timer.callback()
        self.now = end

    @property
    def pending(self) -> int:
        """Timers that still have something to call."""
        return sum(1 for _, _, timer in self._timers if timer.callback)

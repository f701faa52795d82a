"""An event loop whose time passes only when nothing else can happen: minutes of waiting take milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

# What a loopback connection may take to deliver, in real time, before it counts as silent.
SILENCE_S = 0.003
# Nothing is scheduled: a thread may still answer, in real time.
DEADLOCK_S = 10.0
# Floating-point sums may fall short of a timer by this.
STEP_S = 1e-6


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        # One is the loop's own wake-up pipe: without others nobody has to be waited for.
        if len(self.get_map()) > 1 or timeout is None:
            ready = super().select(DEADLOCK_S if timeout is None else SILENCE_S)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("a deadlock: nothing is scheduled, and nothing comes")
        self.now_s += max(timeout, STEP_S)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for tests; ``time()`` begins at 1,000 s."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now_s


def run_virtual(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, as asyncio.run does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """Virtual seconds of the running loop."""
    return asyncio.get_running_loop().time()

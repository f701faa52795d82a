"""A scene around a sink that runs, and is stopped as the program stops it."""

from __future__ import annotations

import asyncio
from typing import Any, Self


class RunningSink:
    """The sink runs inside the context. A scene that derives from it has made ``sink`` by then."""

    sink: Any
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.sink.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop the sink, as the program does at its end; an error of its own comes out here."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

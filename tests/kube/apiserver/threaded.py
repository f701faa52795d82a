"""The fake API server in a thread and loop of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from .server import FakeApiServer


class ThreadedApiServer:
    """Everything that FakeApiServer has, from any thread: ``with ThreadedApiServer() as api: api.add_pod(...)``.

    Attributes are read, and methods called, in the server's loop; coroutine methods (``until``,
    ``reopen``, ``thaw``) block until they are done. A condition given to ``until`` runs in the
    server's thread; it may use this object's methods.
    """

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="fake-kube-apiserver")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._in_loop(lambda: getattr(self._server, name))
        if not inspect.ismethod(value):
            return value
        return lambda *positional, **named: self._in_loop(lambda: value(*positional, **named))

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._in_loop(lambda: setattr(self._server, name, value))

    def _in_loop(self, action: Any) -> Any:
        if threading.current_thread() is self._thread:
            return action()

        async def run() -> Any:
            result = action()
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with FakeApiServer(**self._arguments) as self._server:
            self._started.set_result(None)
            await self._stop.wait()

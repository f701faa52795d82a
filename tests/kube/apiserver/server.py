"""The fake API server: its sockets, its request log, and the way from a request to an answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from . import kubeconfig
from .controls import Controls
from .exchange import reply_of
from .faults import Request
from .listener import HOST, Listener
from .routes import answer, call_of
from .state import Change
from .statuses import RefusedError
from .watch import End, Watch, bookmark_times, is_watch, options_of
from .wire import CutError, Wire


class FakeApiServer(Controls):
    """A kube-apiserver on a free port of the loopback. See the package's docstring for an example.

    Args:
        node: The node that the agent's token is bound to.
        tls: HTTPS, with ``ca_file`` as its CA.
        bookmark_interval_s: The real server's is about 60 s.
        future_wait_s: How long a LIST waits for a resourceVersion that does not exist yet (really 3 s).
        second_s: What a second of ``timeoutSeconds``, of bookmarks and of the above really lasts.
        clock: Unix time, for what is stored.
    """

    def __init__(
        self,
        *,
        node: str = "node-a",
        tls: bool = False,
        bookmark_interval_s: float = 60.0,
        future_wait_s: float = 3.0,
        second_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(node=node, clock=clock)
        self.ca_file = kubeconfig.certificate()[0] if tls else None
        self._bookmark_interval_s = bookmark_interval_s
        self._future_wait_s = future_wait_s
        self._second_s = second_s
        self._listener = Listener(kubeconfig.server_context() if tls else None)
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self._wires: set[Wire] = set()

    # --------------------------------------------------------------------------------------- lifetime

    async def __aenter__(self) -> Self:
        self._awake, self._closing = asyncio.Event(), asyncio.Event()
        self._awake.set()
        self.store.on_change.append(self._tell)
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_response_prepare.append(_without_server_header)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await self._listener.start(self._runner)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.refuse()
        self._closing.set()
        self._awake.set()
        self.drop_connections(End.RESET)
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, or https."""
        return f"{'https' if self.ca_file else 'http'}://{HOST}:{self.port}"

    @property
    def port(self) -> int:
        """The port, the same after ``reopen``."""
        return self._listener.port

    def write_kubeconfig(self, path: Path, *, token: str | None = None) -> Path:
        """Write a kubeconfig for this server; the token is the agent's unless another is given."""
        return kubeconfig.write_kubeconfig(
            path, url=self.url, ca_file=self.ca_file, token=token or self.token
        )

    def write_service_account(self, folder: Path, *, namespace: str = "oomtracer") -> dict[str, str]:
        """Write a pod's token and CA files; returns the variables of a pod's environment. Needs ``tls``."""
        assert self.ca_file is not None
        kubeconfig.write_service_account(folder, token=self.token, ca_file=self.ca_file, namespace=namespace)
        return {"KUBERNETES_SERVICE_HOST": HOST, "KUBERNETES_SERVICE_PORT": str(self.port)}

    # ---------------------------------------------------------------------------------------- sockets

    def refuse(self) -> None:
        """Close the port; open connections live on (see drop_connections)."""
        self._listener.refuse()

    async def reopen(self) -> None:
        """Open the same port again."""
        await self._listener.reopen()

    def freeze(self) -> None:
        """As SIGSTOP: TCP connects, nothing is answered, open watches fall silent."""
        self._listener.freeze()
        self._awake.clear()

    async def thaw(self) -> None:
        """Go on."""
        self._awake.set()
        await self._listener.thaw()

    def drop_connections(self, end: End = End.CUT) -> None:
        """End all connections that have an unanswered request or an open watch."""
        for wire in tuple(self._wires):
            wire.drop(reset=end is End.RESET)

    def set_second(self, second_s: float) -> None:
        """From now on a second of the server lasts ``second_s``, also for open watches."""
        self._second_s = second_s
        for watch in self.watches:
            watch.wake.set()

    # --------------------------------------------------------------------------------------- watching

    async def until(self, condition: Callable[[], Any], *, timeout_s: float = 10.0) -> None:
        """Wait until ``condition`` is true; it is asked after each change and each request.

        Raises:
            TimeoutError: It did not become true in time.
        """
        if condition():
            return
        waiter = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1]
        finally:
            self._waiting.remove(waiter)

    def _ask(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    def _tell(self, change: Change) -> None:
        for watch in self.watches:
            watch.tell(change)
        self._ask()

    # --------------------------------------------------------------------------------------- answering

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        wire = Wire(request, self._awake, self._closing)
        self._wires.add(wire)
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Request(
            time.time(),
            request.method,
            request.path,
            dict(request.query),
            headers,
            b"",
            is_watch(request.query),
        )
        try:
            seen.body = await request.read()
            await self._awake.wait()
            self.requests.append(seen)
            wire.on_begin = lambda status: setattr(seen, "status", status)
            await self._answer(wire, seen)
        except CutError:
            pass
        finally:
            self._wires.discard(wire)
            self._ask()
        return await wire.result()

    async def _answer(self, wire: Wire, seen: Request) -> None:
        action = self._faults.action_for(seen)
        self._ask()
        if action is not None and await action.play(wire):
            return
        try:
            call = call_of(self.access, seen)
            if not seen.is_watch:
                reply = await answer(
                    self.store, self.policies, call, lambda: wire.pause(self._future_wait_s * self._second_s)
                )
            else:
                options = options_of(self.store, call)
                await self._watch(wire, Watch(call, options, self.store, lambda: self.sends_bookmarks))
                return
        except RefusedError as refused:
            reply = reply_of(refused, seen.headers.get("accept", "*/*"))
        self._ask()
        await wire.send(reply)

    async def _watch(self, wire: Wire, watch: Watch) -> None:
        watch.begin()
        self.watches.append(watch)
        try:
            await wire.begin(200, {"Content-Type": "application/json"})
            self._ask()
            await self._deliver(wire, watch)
        finally:
            self.watches.remove(watch)

    async def _deliver(self, wire: Wire, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        opened_s, timeout_s = loop.time(), watch.options.timeout_s
        due = iter((*bookmark_times(timeout_s, self._bookmark_interval_s), timeout_s))
        next_s = next(due)
        while True:
            for line in watch.lines():
                await wire.write(line)
            if watch.end is not None:
                break
            watch.wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(opened_s + next_s * self._second_s):
                    await watch.wake.wait()
            if loop.time() < opened_s + next_s * self._second_s:
                continue
            if next_s == timeout_s:
                break
            next_s = next(due)
            if watch.options.bookmarks:
                watch.bookmark()
        await wire.finish(watch.end or End.CLEAN)


async def _without_server_header(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)

"""``python bench/apiserver.py FOLDER``: the tests' fake API server as a program of its own.

It is told what to do by lines of JSON on standard input, and answers each with one on standard output. Times are
on the boot clock, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
from pathlib import Path
from typing import Any

# A script's path begins with its own folder; the fake lives with the tests.
sys.path.insert(1, str(Path(__file__).parents[1]))

from busy_pods import busy_pod, changed, twins

from tests.kube.apiserver import FakeApiServer, Late, Request, container_id_of
from tests.kube.apiserver.exchange import to_json

NODE = "node-a"
OTHER_NODES = [f"node-b{number}" for number in range(44)]
DEADLINE_SECONDS = 120.0
_Json = dict[str, Any]


class _Server(FakeApiServer):
    def hang_up(self) -> None:
        """Close the connections that nobody uses, as aiohttp's client does by itself after 15 s."""
        used = {wire.request.transport for wire in self._wires}
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport and connection.transport not in used:
                connection.transport.close()


class Program:
    """The commands, each a method."""

    def __init__(self, api: _Server) -> None:
        self._api = api
        self._told = 0

    def fill(self, *, here: int, elsewhere: int) -> _Json:
        """Make pods on the node and on others; tells what the cgroups of those on the node are called."""
        pods = [busy_pod(number, NODE) for number in range(here)]
        for pod in pods:
            self._api.store.put(pod)
        for pod in twins(pods[0], elsewhere, OTHER_NODES):
            self._api.store.put(pod)
        sizes = sorted([len(to_json(pod)) for pod in pods])
        return {"pods": [_names(pod) for pod in pods], "smallest_bytes": sizes[0], "largest_bytes": sizes[-1]}

    async def change(self, *, seconds: float, per_second: float, here: bool) -> _Json:
        """Change pods of the node, or of all others, at an even rate; tells how late it was at most."""
        pods = self._api.store.pods
        keys = [key for key, pod in pods.items() if (pod["spec"]["nodeName"] == NODE) is here]
        count, start, late_s = int(seconds * per_second), time.monotonic(), 0.0
        for number in range(count):
            due_s = start + number / per_second
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            late_s = max(late_s, time.monotonic() - due_s)
            self._api.store.put(changed(pods[keys[number % len(keys)]], restarted=number % 10 == 0))
        await asyncio.sleep(start + seconds - time.monotonic())
        return {"count": count, "seconds": time.monotonic() - start, "latest_seconds": late_s}

    def begin_changes(self, *, per_second: float) -> _Json:
        """Change pods of the node from now on."""
        self._changing = asyncio.create_task(self.change(seconds=3600, per_second=per_second, here=True))
        return {}

    async def patches(self, *, count: int) -> _Json:
        """Wait for so many patches of pods since the last call; when each came, by the pod's name."""

        def marks() -> list[Request]:
            return [one for one in self._api.requests[self._told :] if one.method == "PATCH" and _of_pod(one)]

        await self._api.until(lambda: len(marks()) >= count, timeout_s=DEADLINE_SECONDS)
        found = marks()
        self._told = len(self._api.requests)
        # How the two clocks differ now: no clock is set while this runs.
        to_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.time_ns()
        return {"patches": {one.path.rpartition("/")[2]: int(one.time_s * 1e9) + to_boot_ns for one in found}}

    def asked(self) -> _Json:
        """All requests so far: method and field selector."""
        requests = self._api.requests
        return {"requests": [[one.method, one.query.get("fieldSelector", "")] for one in requests]}

    def answer_patches_late(self, *, seconds: float) -> _Json:
        """From now on."""
        self._api.fail(Late(seconds), method="PATCH", path="/pods/")
        return {}

    def hang_up(self) -> _Json:
        """Close unused connections."""
        self._api.hang_up()
        return {}


def _of_pod(request: Request) -> bool:
    return "/pods/" in request.path and "dryRun" not in request.query


def _names(pod: _Json) -> _Json:
    metadata = pod["metadata"]
    names = {key: metadata[key] for key in ("name", "namespace", "uid")}
    return names | {"container_id": container_id_of(metadata["uid"], "app")}


async def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with _Server(node=NODE, tls=True) as api:
        program = Program(api)
        _answer({"variables": api.write_service_account(folder)})
        async for line in reader:
            command = json.loads(line)
            answer = getattr(program, command.pop("do"))(**command)
            _answer(await answer if inspect.isawaitable(answer) else answer)


def _answer(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))

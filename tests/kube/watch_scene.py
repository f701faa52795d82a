"""A watcher in virtual time over an API server in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.records import PodReader
from oomtracer.kube.watch import PodWatcher
from oomtracer.kube.watch_times import WatchTimes

from .streamed_api import Answer, Request, Script, StreamedApi
from .virtual_time import run_virtual


class Scene:
    """The parts of a watcher, and how long they ran."""

    def __init__(
        self,
        script: Script,
        *,
        start_jitter_s: float,
        seed: int | None,
        times: WatchTimes | None,
        own_pod: tuple[str, str] | None,
    ) -> None:
        self.api = StreamedApi(script)
        clock = asyncio.get_running_loop().time  # works after the loop's end too
        self.directory = PodDirectory(clock=clock)
        self.began_s = clock()
        self.watcher = PodWatcher(
            self.api,
            self.directory,
            PodReader([], []),
            node_name="node-a",
            own_pod=own_pod,
            start_jitter_s=start_jitter_s,
            times=times,
            clock=clock,
            # No luck at all without a seed.
            random=(lambda: 0.0) if seed is None else random.Random(seed).random,
        )

    @property
    def uids(self) -> set[str]:
        """The live pods."""
        return {pod.uid for pod in self.directory.pods()}

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Verb and version of each request."""
        return [(request.verb, request.version) for request in self.api.requests]

    @property
    def times_s(self) -> list[float]:
        """When each request came, since the beginning."""
        return [request.at_s - self.began_s for request in self.api.requests]

    @property
    def counted(self) -> dict[str, int]:
        """The errors that were counted."""
        return {str(kind): count for kind, count in self.watcher.errors.items() if count}


def play(
    script: Script,
    *,
    for_s: float,
    start_jitter_s: float = 0.0,
    seed: int | None = None,
    times: WatchTimes | None = None,
    own_pod: tuple[str, str] | None = None,
    first: Callable[[Scene], Any] = lambda scene: None,
    then: Callable[[Scene], Any] = lambda scene: None,
) -> Scene:
    """Run a watcher for so many virtual seconds; ``first`` is called before, ``then`` while it still runs."""

    async def run() -> Scene:
        scene = Scene(script, start_jitter_s=start_jitter_s, seed=seed, times=times, own_pod=own_pod)
        first(scene)
        task = asyncio.create_task(scene.watcher.run())
        await asyncio.sleep(for_s)
        assert not task.done()
        then(scene)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return scene

    result = run_virtual(run())
    assert isinstance(result, Scene)
    return result


def in_turn(*answers: Answer | Exception) -> Script:
    """Each request gets the next answer; the last one is for all that follow."""
    left = list(answers)

    def script(_: Request) -> Answer | Exception:
        return left.pop(0) if len(left) > 1 else left[0]

    return script

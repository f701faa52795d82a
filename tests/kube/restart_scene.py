"""A node that outlives its agents: kills, a journal's file and an API server; agents come, are stopped and crash."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oomtracer.app.outboxes import Outboxes
from oomtracer.cgroups import limit_owner
from oomtracer.config import Cluster, Marking
from oomtracer.events import OomReport, Workload, WorkloadKind
from oomtracer.journal import Delivery as Owed
from oomtracer.journal import ReportRow, schema
from oomtracer.journal.reports import add, owed
from oomtracer.kube.api import Api
from oomtracer.kube.connection import connect
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.fence import Fence
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.kube.records import PodReader
from oomtracer.kube.watch import PodWatcher
from oomtracer.pipeline import Naming
from oomtracer.policy import Policy, annotation_keys, label_keys
from oomtracer.sinks.kube_events import EventSink
from oomtracer.sinks.mark import Delivery, MarkSink
from tests.policy import scenes

from .apiserver import FakeApiServer, container_id_of, make_pod
from .apiserver.state import Change
from .mark_scene import ANNOTATION, unix_now
from .virtual_time import now

NODE = "node-1"
BOOT = "5e1f7f0e-6f0c-4f6e-9a59-0d3a2b1c4d5e"
GIVE_UP_AFTER_S = 3_600.0
MOST_COMMIT_S = 0.05


class SlowJournal:
    """The journal's file and operations; each commit comes some milliseconds late, and a crash forgets what waits."""

    fault = ""

    def __init__(self, path: Path, dice: random.Random) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        if schema.is_blank(self._connection):
            schema.create(self._connection)
        self._dice = dice
        self._waiting: deque[tuple[Callable[[Any], Any], asyncio.Future[Any]]] = deque()
        self._is_dead = False

    def submit(
        self, operation: Callable[[sqlite3.Connection], Any], *, kind: str = "", size_bytes: int = 0
    ) -> asyncio.Future[Any]:
        """Run it soon, after those before it."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._is_dead:
            self._waiting.append((operation, answer))
            asyncio.get_running_loop().call_later(self._dice.uniform(0.0, MOST_COMMIT_S), self._commit_one)
        return answer

    def _commit_one(self) -> None:
        if self._waiting:
            operation, answer = self._waiting.popleft()
            self._connection.execute("BEGIN IMMEDIATE")
            result = operation(self._connection)
            self._connection.execute("COMMIT")
            if not answer.done():
                answer.set_result(result)

    def hang(self) -> None:
        """Answer nothing any more."""
        self._is_dead = True
        self._waiting.clear()

    def crash(self) -> None:
        """Forget what is not committed, and take nothing more."""
        self.hang()
        self._connection.close()

    def close(self) -> None:
        """Commit what waits, as the agent does at its end."""
        while self._waiting:
            self._commit_one()
        self.crash()


class MortalApi:
    """The connection of one agent; nothing that is asked for after its death is sent."""

    def __init__(self, api: Api) -> None:
        self.is_dead = False
        self._api = api

    async def request(self, *args: Any, **options: Any) -> Any:
        """Pass it on."""
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        return await self._api.request(*args, **options)

    def stream(self, *args: Any, **options: Any) -> Any:
        """Pass it on."""
        return self._api.stream(*args, **options)


class Agent:
    """One life of the parts that marks and Events are made of, put together as the agent does."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin where the one before ended."""
        node, marking = self._node, self._node.marking
        self._connection = await connect(node.cluster)
        self._api = api = MortalApi(self._connection)
        self._journal = SlowJournal(node.path, node.dice)
        outboxes = Outboxes(self._journal, boot_id=node.boot_id, boot_clock=now, unix_clock=unix_now)
        directory = PodDirectory(clock=now)
        watcher = PodWatcher(
            api,
            directory,
            PodReader(annotation_keys(marking), label_keys(marking)),
            node_name=NODE,
            start_jitter_s=0.0,
            clock=now,
            random=node.dice.random,
        )
        limiter = WriteLimiter(qps=5.0, burst=10, clock=now)
        fence = Fence(api=api, directory=directory, marking=marking, limiter=limiter, own_pod=None)
        self.marks = MarkSink(
            directory=directory,
            policy=Policy(marking, owner_of=limit_owner),
            marking=marking,
            delivery=Delivery(
                api=api, directory=directory, marking=marking, limiter=limiter, fence=fence, clock=now
            ),
            outbox=outboxes.marks,
            clock=now,
            unix_clock=unix_now,
        )

        def find(workload: Workload) -> Any:
            return directory.find(workload.pod_uid, workload.container_id)

        self.events = EventSink(
            api,
            node=NODE,
            marking=marking,
            lookup=find,
            decision_of=self.marks.decision_of,
            limiter=limiter,
            outbox=outboxes.events,
            age_s=outboxes.ages,
            clock=now,
        )
        self.marks.on_marked.append(self.events.marked)
        await outboxes.restore(self.marks, self.events, budget=1)
        self.naming = Naming(
            find,
            told=[],
            named=[self.marks],
            complete=[self.events],
            synced_for_s=watcher.current_for_s,
            give_up_after_s=GIVE_UP_AFTER_S,
            scheduler=asyncio.get_running_loop(),
        )
        directory.on_change.append(self.naming.pods_changed)
        both = Owed.MARK | Owed.EVENT
        outboxes.resume(
            await self._journal.submit(lambda each: owed(each, both)), self.naming, self.marks, self.events
        )
        parts = (self._read_ring(), watcher.run(), self.marks.run(), self.events.run())
        self._tasks = [asyncio.create_task(each) for each in parts]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is owed to anybody."""
        return not (
            self._node.ring or self.naming.waiting or self.marks.pending or self.events.pending
        ) and not any(task.done() for task in self._tasks)

    async def _read_ring(self) -> None:
        ring = self._node.ring
        while True:
            self._node.killed.clear()
            if batch := list(ring):
                rows = [ReportRow(report=each, pending=Owed.MARK | Owed.EVENT) for each in batch]
                added = await self._journal.submit(lambda each, rows=rows: add(each, rows))
                del ring[: len(batch)]
                for report, is_new in zip(batch, added, strict=True):
                    if is_new:
                        self.naming.emit(report)
            if not ring:
                await self._node.killed.wait()

    def hang_journal(self) -> None:
        """Let the disk take nothing any more."""
        self._journal.hang()

    async def stop(self) -> None:
        """End as at SIGTERM."""
        self._tasks[0].cancel()
        self.naming.finish(keeps=True)
        await self._end(self._tasks[:3])
        await self._end(self._tasks[3:])
        self._journal.close()
        await self._connection.close()
        self._count()

    async def crash(self) -> None:
        """End as at SIGKILL: from now on nothing that it does has any effect."""
        self._api.is_dead = True
        self._journal.crash()
        self._count()
        await self._connection.close()
        self.naming.finish()
        await self._end(self._tasks)

    def _count(self) -> None:
        self._node.dropped += self.events.dropped
        self._node.marked += self.marks.counts.marked

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError | None), result


class Node:
    """What stays. ``ring`` holds kills that no agent has stored; ``marks`` are (seconds, pod) as the server saw them.

    ``dropped`` and ``marked`` add up what agents counted.
    """

    def __init__(
        self, server: FakeApiServer, folder: Path, *, marking: Marking, pods: int, dice: random.Random
    ) -> None:
        self.server = server
        self.path = folder / "journal.db"
        self.cluster = Cluster(kubeconfig=str(server.write_kubeconfig(folder / "config")))
        self.marking = marking
        self.dice = dice
        self.boot_id = BOOT
        self.ring: list[OomReport] = []
        self.killed = asyncio.Event()
        self.marks: list[tuple[float, str]] = []
        self.dropped: Counter[str] = Counter()
        self.marked: Counter[tuple[str, str]] = Counter()
        self.agent: Agent | None = None
        self.pods = [
            server.add_pod(
                make_pod(
                    f"shop-{number}",
                    namespace="shop",
                    node=NODE,
                    containers=["web"],
                    owner=("StatefulSet", f"shop-{number}"),
                    created=scenes.NOW_S - 3_600,
                )
            )["metadata"]
            for number in range(pods)
        ]
        self._kills = 0
        self.in_pod: Counter[str] = Counter()
        self.on_node = 0
        self.server.store.on_change.append(self._see)

    def kill(self, number: int, *, processes: int = 1) -> None:
        """Let the node run out of memory, and processes of one pod be killed for it, one after the other."""
        metadata = self.pods[number]
        first = self._kills
        for _ in range(processes):
            self._kills += 1
            self.ring.append(self._report(metadata, self._kills, incident=first + 1))
        self.killed.set()
        self.in_pod[metadata["name"]] += 1
        self.on_node += 1

    def kill_also(self, number: int) -> None:
        """Let the last run of the OOM killer take a process of another pod too; its last one took one so far."""
        self._kills += 1
        self.ring.append(self._report(self.pods[number], self._kills, incident=self._kills - 1))
        self.killed.set()
        self.in_pod[self.pods[number]["name"]] += 1

    def _report(self, metadata: dict[str, Any], number: int, *, incident: int) -> OomReport:
        plain = scenes.pod_report(
            id=f"{self.boot_id}:{number}:1",
            incident=f"{self.boot_id}:{incident}:1",
            node=NODE,
            boot_time_ns=round(now() * 1e9),
            time=datetime.fromtimestamp(unix_now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            workload=Workload(
                kind=WorkloadKind.POD,
                pod_uid=metadata["uid"],
                container_id=container_id_of(metadata["uid"], "web"),
                static=False,
                resolved=False,
            ),
        )
        return replace(plain, init_died=False)

    async def start(self) -> None:
        """Start an agent."""
        self.agent = Agent(self)
        await self.agent.start()

    async def stop(self) -> None:
        """Stop the agent."""
        agent, self.agent = self.agent, None
        if agent:
            await agent.stop()

    async def crash(self) -> None:
        """Kill the agent."""
        agent, self.agent = self.agent, None
        if agent:
            await agent.crash()

    async def settle(self, *, within_s: float = 3_500.0) -> None:
        """Wait, in virtual time, until nothing is owed."""
        deadline_s = now() + within_s
        while not (self.agent and self.agent.is_idle):
            assert now() < deadline_s, "it never came to rest"
            await asyncio.sleep(1.0)

    def counted(self, reason: str) -> Counter[str]:
        """Sum up what the API server's Events say: how often, by the object's name."""
        counts: Counter[str] = Counter()
        for event in self.server.events:
            if event["reason"] == reason:
                counts[event["regarding"]["name"]] += event.get("series", {"count": 1})["count"]
        return counts

    def owed(self) -> int:
        """Count the reports that are owed to somebody."""
        return self.count("reports WHERE pending != 0")

    def count(self, rows: str) -> int:
        """Count rows of the journal; nobody may be writing."""
        connection = sqlite3.connect(self.path)
        [(count,)] = connection.execute(f"SELECT count(*) FROM {rows}")
        connection.close()
        return int(count)

    def _see(self, change: Change) -> None:
        before, after = _mark(change.before), _mark(change.after)
        if change.before and change.after and after != before:
            self.marks.append((now(), change.after["metadata"]["name"]))


def _mark(pod: Any) -> Any:
    return pod and pod["metadata"].get("annotations", {}).get(ANNOTATION.key)


@asynccontextmanager
async def machine(*, marking: Marking, pods: int, seed: int = 0) -> AsyncIterator[Node]:
    """Run a server and a node; the agent is started by the test, and ended here if it still runs."""
    with TemporaryDirectory() as folder:
        async with FakeApiServer(node=NODE, clock=unix_now) as server:
            node = Node(server, Path(folder), marking=marking, pods=pods, dice=random.Random(seed))
            try:
                yield node
            finally:
                await node.crash()

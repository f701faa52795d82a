"""A pod with two containers, kills in it, and an agent that tells of them: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from oomtracer.config import KeyValue, Marking
from oomtracer.events import LimitOwner, OomReport, Scope, Trigger, Workload, WorkloadKind
from oomtracer.kube.api import Api
from oomtracer.kube.event import Regarding
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.pods import Pod, PodIdentity
from oomtracer.policy import Decision, Reason
from oomtracer.sinks.kube_events import EventSink
from oomtracer.sinks.kube_events.gather import Gathering, Incident
from oomtracer.sinks.kube_events.ledger import WAIT_S
from tests.policy import scenes
from tests.unit.builders import CONTAINER, CONTAINER_ID, MIB, level, limit, report, victim

from .running_sink import RunningSink
from .scripted_api import Request, Response, Script, ScriptedApi, status
from .virtual_time import now

NODE = "node-1"
MARKING = Marking(annotation=KeyValue("oom-tracer.alpha.kubernetes.io/evict-me", "yes"))
LEFT_ALONE = Decision(mark=False, reason=Reason.CONTAINER_LIMIT_HIT)
CREATED = Response(201, {"content-type": "application/json"}, b'{"kind":"Event"}')
PATCHED = Response(200, {"content-type": "application/json"}, b'{"kind":"Event"}')
EXISTS = status(409, "AlreadyExists", 'events.events.k8s.io "x" already exists')
EXPIRED = status(404, "NotFound", 'events.events.k8s.io "x" not found')


def pod(number: int = 0, **changes: Any) -> Pod:
    """Build a pod with an init container, two ordinary ones and an ephemeral one."""
    plain = scenes.pod(
        uid=f"8c5f2f5e-3d7f-4a57-a2f0-0b7d3a1d{number:04x}",
        namespace="shop",
        name=f"shop-{number}",
        containers=("setup", "web", "log", "debug"),
        init_containers=("setup",),
        ephemeral_containers=("debug",),
    )
    return replace(plain, **changes)


def workload(of: Pod, container: str | None = "web", **changes: Any) -> Workload:
    """Build what a report says of a container in a pod that is known."""
    plain = Workload(
        kind=WorkloadKind.POD,
        namespace=of.namespace,
        pod=of.name,
        pod_uid=of.config_hash or of.uid,
        container=container,
        container_id=CONTAINER_ID if container == "web" else f"id-of-{container}",
        static=of.is_mirror,
    )
    return replace(plain, **changes)


def kill(
    of: Pod | None = None, number: int = 0, *, container: str | None = "web", **changes: Any
) -> OomReport:
    """Build the report of a process of a pod, killed at its container's limit by an allocation of its own."""
    whose = workload(of or pod(), container)
    pid = 41_000 + number
    plain = report(
        id=f"boot:{pid}:1",
        incident=f"boot:{pid}:1",
        time=f"2026-03-01T12:34:{number % 60:02d}.789012Z",
        node=NODE,
        victim=victim(pid=pid, tid=pid, container_pid=20 + number, comm="gunicorn", cgroup=CONTAINER),
        trigger=Trigger(pid=pid, tid=pid, comm="gunicorn", cgroup=CONTAINER),
        trigger_workload=whose,
        limit=limit(cgroup=CONTAINER, owner=LimitOwner.CONTAINER),
        levels=(level(CONTAINER, 64 * MIB, 64 * MIB),),
        workload=whose,
        init_died=False,
    )
    return replace(plain, **changes)


def node_kill(of: Pod | None = None, number: int = 0, **changes: Any) -> OomReport:
    """Build the report of a kill because the node ran out of memory, with the trigger in another namespace."""
    other = Workload(kind=WorkloadKind.POD, namespace="bank", pod="ledger-0", pod_uid="other", container="db")
    trigger = Trigger(pid=99, tid=99, comm="postgres", cgroup="/kubepods.slice/x")
    return kill(
        of, number, scope=Scope.GLOBAL, limit=None, trigger=trigger, trigger_workload=other, **changes
    )


def incident_of(reports: list[OomReport], subject: Regarding, of: Pod | None) -> Incident:
    """Gather reports of one run of the OOM killer."""
    gathering = Gathering()
    for each in reports:
        gathering.add(each, subject, of, now_s=0.0)
    [incident] = gathering.complete(1e9)
    return incident


class EventApi(ScriptedApi):
    """An API server in memory that is asked for nothing that could not be asked twice."""

    async def request(
        self, method: str, path: str, *, repeatable: bool | None = None, **rest: Any
    ) -> Response:
        """Answer by the script."""
        assert repeatable, "names are unique: a POST may be sent again on a new connection"
        return await super().request(method, path, **rest)


class Scene(RunningSink):
    """An EventSink on an API server in memory, which takes everything unless a script says otherwise."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        api: Api | None = None,
        qps: float = 1e6,
        marking: Marking = MARKING,
        **changes: Any,
    ) -> None:
        self.api = EventApi(script or take)
        self.pods = {each.config_hash or each.uid: each for each in map(pod, range(600))}
        self.limiter = WriteLimiter(qps=qps, burst=1, clock=now)
        self.decisions: dict[str, Decision] = {}
        wanted: dict[str, Any] = {
            "node": NODE,
            "marking": marking,
            "lookup": self._lookup,
            "decision_of": lambda report: self.decisions.get(report.incident, LEFT_ALONE),
            "limiter": self.limiter,
            "clock": now,
        }
        self.sink = EventSink(api or self.api, **(wanted | changes))

    def _lookup(self, workload: Workload) -> PodIdentity | None:
        found = self.pods.get(workload.pod_uid or "")
        return PodIdentity(pod=found, container=workload.container) if found else None

    @property
    def is_running(self) -> bool:
        """Whether its root task lives."""
        return self._task is not None and not self._task.done()

    async def settle(self) -> None:
        """Wait until nothing waits."""
        await self.until(lambda: self.sink.pending == 0, within_s=2 * WAIT_S)

    async def until(self, condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
        """Wait, in virtual time, for a condition."""
        deadline_s = now() + within_s
        while not condition():
            assert now() < deadline_s, "it never happened"
            await asyncio.sleep(0.1)

    @property
    def created(self) -> list[Request]:
        """The POSTs."""
        return [request for request in self.api.requests if request.method == "POST"]

    @property
    def patched(self) -> list[Request]:
        """The PATCHes."""
        return [request for request in self.api.requests if request.method == "PATCH"]

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped, without zeros."""
        return {reason: number for reason, number in self.sink.dropped.items() if number}


def take(request: Request) -> Response:
    """Take any Event."""
    return CREATED if request.method == "POST" else PATCHED


def counts(requests: list[Request]) -> list[int]:
    """Find the count of each Event or update."""
    return [request.document.get("series", {"count": 1})["count"] for request in requests]


def answering(*answers: Response | Exception) -> Script:
    """Answer requests in turn, and take all that come after."""
    waiting = list(answers)
    return lambda request: waiting.pop(0) if waiting else take(request)


def refusing(answer: Response | Exception, *, method: str) -> Script:
    """Answer every request of one method in the same way, and take the others."""
    return lambda request: answer if request.method == method else take(request)


def gaps(requests: list[Request]) -> list[float]:
    """Find the seconds between requests."""
    return [other.at_s - one.at_s for one, other in pairwise(requests)]

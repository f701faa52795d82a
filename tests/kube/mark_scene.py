"""A node with pods, an agent that marks them, and kills: all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from oomtracer.cgroups import limit_owner
from oomtracer.config import KeyValue, Marking, Rate
from oomtracer.events import OomReport, Workload, WorkloadKind
from oomtracer.kube.api import Api
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.fence import Fence, FenceState
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.pods import Pod
from oomtracer.policy import Policy
from oomtracer.sinks.mark import Delivery, MarkSink
from tests.policy import scenes

from .running_sink import RunningSink
from .scripted_api import ScriptedApi
from .virtual_time import now

ANNOTATION = KeyValue("oom-tracer.alpha.kubernetes.io/evict-me", "yes")
LABEL = KeyValue("oomtracer/victim", "true")
MARKING = Marking(annotation=ANNOTATION, budget=Rate(100_000, 600.0), cooldown_s=0.0)
APPLIED = ("marked", "annotation_applied")


def unix_now() -> float:
    """Unix time of the virtual clock."""
    return scenes.NOW_S + now() - 1_000.0


def kill_of(pod: Pod, *, incident: str = "", ago_s: float = 0.0, **changes: Any) -> OomReport:
    """Build the report of a kill in a pod, now or some seconds ago, by the node running out of memory."""
    incident = incident or f"boot:{pod.name}:{now()}"
    plain = scenes.pod_report(
        id=incident,
        incident=incident,
        boot_time_ns=round((now() - ago_s) * 1e9),
        workload=Workload(kind=WorkloadKind.POD, pod_uid=pod.uid, static=False),
    )
    return replace(plain, **changes)


class Node(RunningSink):
    """The parts of the agent that marking is made of; ``fence`` is open unless a test proves it."""

    def __init__(
        self,
        api: Api | None = None,
        *,
        marking: Marking = MARKING,
        pods: int | Sequence[Pod] = 1,
        limiter: WriteLimiter | None = None,
    ) -> None:
        self.api = api or ScriptedApi()
        self.pods = _numbered(pods) if isinstance(pods, int) else list(pods)
        self.directory = PodDirectory(clock=now)
        self.directory.replace(self.pods)
        self.policy = Policy(marking, owner_of=limit_owner)
        self.limiter = limiter or WriteLimiter(qps=1e6, burst=1, clock=now)
        self.fence = Fence(
            api=self.api,
            directory=self.directory,
            marking=marking,
            limiter=self.limiter,
            own_pod=("oomtracer", "oomtracer-x"),
        )
        delivery = Delivery(
            api=self.api,
            directory=self.directory,
            marking=marking,
            limiter=self.limiter,
            fence=self.fence,
            clock=now,
        )
        self.sink = MarkSink(
            directory=self.directory,
            policy=self.policy,
            marking=marking,
            delivery=None if marking.is_dry_run else delivery,
            clock=now,
            unix_clock=unix_now,
        )
        self.told: list[tuple[OomReport, Pod]] = []
        self.sink.on_marked.append(lambda report, pod: self.told.append((report, pod)))

    @property
    def pod(self) -> Pod:
        """The first pod."""
        return self.pods[0]

    def see(self, pod: Pod, **changes: Any) -> None:
        """Let the watch tell that a pod has changed."""
        self.directory.put(replace(self.directory.pod(pod.uid) or pod, **changes))

    def prove_fence(self) -> None:
        """Let the fence be proved."""
        self.fence.state = FenceState.ENFORCED
        self.fence.enforced.set()

    async def settle(self) -> None:
        """Wait until no mark is on its way."""
        await until(lambda: self.sink.pending == 0, within_s=20 * 60.0)

    @property
    def counted(self) -> dict[tuple[str, str], int]:
        """What was counted, without zeros."""
        return {outcome: number for outcome, number in self.sink.counts.marked.items() if number}


def _numbered(count: int) -> list[Pod]:
    return [scenes.pod(uid=f"uid-{number}", name=f"shop-{number}") for number in range(count)]


async def until(condition: Callable[[], bool], *, within_s: float) -> None:
    """Wait, in virtual time, for a condition."""
    deadline_s = now() + within_s
    while not condition():
        assert now() < deadline_s, "it never happened"
        await asyncio.sleep(0.001 if deadline_s - now() > within_s - 0.1 else 0.5)

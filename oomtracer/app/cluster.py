"""The half of the agent that a cluster needs: pod names, marks, Events and their metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from oomtracer.app.memory import settle
from oomtracer.app.outboxes import Outboxes, owed_by
from oomtracer.cgroups import limit_owner
from oomtracer.config import Cluster, PodMetrics
from oomtracer.events import OomReport, Workload
from oomtracer.kernel.clock import boot_clock
from oomtracer.kube.connection import connect
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.fence import Fence
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.kube.records import PodReader
from oomtracer.kube.watch import PodWatcher
from oomtracer.pipeline import Naming, Ways
from oomtracer.pods import PodIdentity
from oomtracer.policy import Policy, annotation_keys, label_keys
from oomtracer.sinks import Sink
from oomtracer.sinks.kube_events import DROP_REASONS, WAIT_S, EventSink
from oomtracer.sinks.mark import LATENCY_BUCKETS_S, Delivery, MarkSink
from oomtracer.sinks.stages import Stages

if TYPE_CHECKING:
    from oomtracer.journal import Delivery as Owed
    from oomtracer.journal import Journal, PendingReport
    from oomtracer.sinks.cluster_metrics import ClusterSources
    from oomtracer.sinks.metrics import Collector
    from oomtracer.sinks.pod_metrics import PodKills

# After the first list, and the first watch on its connection.
SETTLED_S = 0.5

logger = logging.getLogger("oomtracer.app")

# For a name: as long as for an Event. Marks may be wanted for longer.
GIVE_UP_AFTER_S = WAIT_S


class ClusterHalf:
    """Everything that talks to the API server, which may be away at any time and for long.

    Raises OomTracerError when entered: what was asked for cannot be right.
    """

    def __init__(
        self, cluster: Cluster, *, node_name: str, has_metrics: bool, journal: Journal | None = None
    ) -> None:
        self._cluster = cluster
        self._outboxes = Outboxes(journal)
        self._node_name = node_name
        self._counts_pods = has_metrics and cluster.pod_metrics is not PodMetrics.OFF
        self._directory = PodDirectory()
        self._pod_kills = self._make_pod_kills()
        self._naming: Naming | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Find the API server, without asking it anything."""
        cluster, marking = self._cluster, self._cluster.marking
        self._api = await connect(cluster, patient=True)
        reader = PodReader(annotation_keys(marking), label_keys(marking))
        self._watcher = PodWatcher(
            self._api,
            self._directory,
            reader,
            node_name=self._node_name,
            start_jitter_s=cluster.start_jitter_s,
            own_pod=_own_pod(cluster),
        )
        limiter = WriteLimiter(qps=cluster.qps, burst=cluster.burst)
        self._fence = self._make_fence(limiter)
        self._marks = MarkSink(
            directory=self._directory,
            policy=Policy(marking, owner_of=limit_owner),
            marking=marking,
            delivery=self._delivery(limiter),
            outbox=self._outboxes.marks,
        )
        self._stages = Stages(self._marks.decision_of)
        self._events = self._make_events(limiter)
        await self._outboxes.restore(self._marks, self._events, budget=marking.budget.count)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._api.close()

    def collectors(self) -> list[Collector]:
        """The metrics of the cluster half."""
        from oomtracer.sinks.cluster_metrics import ClusterMetrics

        metrics = ClusterMetrics(self._sources())
        return [metrics, self._pod_kills] if self._pod_kills else [metrics]

    def events(self) -> dict[tuple[str, str], int]:
        """Kills by stage and reason, for ``events_total``."""
        return {**self._stages.counts, ("error", "annotation_failed"): self._marks.counts.failed}

    @property
    def untold(self) -> int:
        """Reports that a sink behind the names failed to take."""
        return self._naming.untold if self._naming else 0

    def name(self, told: Sequence[Sink]) -> Naming:
        """The sink that gives pods their names and hands reports on to ``told`` and to the cluster."""
        self._told = told
        self._naming = Naming(
            self._find,
            told=told,
            named=[self._marks],
            complete=[
                each for each in (self._outboxes.names, self._stages, self._pod_kills, self._events) if each
            ],
            synced_for_s=self._watcher.current_for_s,
            give_up_after_s=max(self._cluster.marking.max_age_s, GIVE_UP_AFTER_S),
            scheduler=asyncio.get_running_loop(),
        )
        self._directory.on_change += [self._naming.pods_changed, self._settle_once]
        return self._naming

    @property
    def owed(self) -> Owed:
        """The deliveries that each new report is owed to, for its row in the journal."""
        return owed_by(self._events)

    def resume(self, owed: Sequence[PendingReport]) -> None:
        """Take up reports of earlier processes in the order of the kills; after ``name``, before any new one."""
        if self._naming:
            self._outboxes.resume(owed, self._naming, self._marks, self._events)

    def tell_past(self, report: OomReport) -> None:
        """Name and tell a kill that nothing is done about; after ``name``."""
        assert self._naming
        complete = [self._outboxes.names] if self._outboxes.names else []
        self._naming.resume(report, Ways(told=self._told, complete=complete), age_s=0.0)

    def _settle_once(self) -> None:
        self._directory.on_change.remove(self._settle_once)
        asyncio.get_running_loop().call_later(SETTLED_S, settle)

    def start(self) -> list[asyncio.Task[None]]:
        """Follow the pods and deliver; none of these tasks ends by itself."""
        logger.info("API server %s; %s", self._api.where, _intent(self._cluster))
        self._tasks = [
            asyncio.create_task(part.run(), name=type(part).__name__)
            for part in (self._watcher, self._marks, self._events, self._fence)
            if part
        ]
        return self._tasks

    async def stop(self) -> None:
        """Hand on what waits for names, give marks and Events their last chance, and end."""
        if self._naming:
            self._naming.finish(keeps=self._outboxes.keeps)
        events = [task for task in self._tasks if task.get_name() == EventSink.__name__]
        await _end([task for task in self._tasks if task not in events])
        # After the marks: one that was made at last wants its Event.
        await _end(events)

    def failure(self) -> BaseException | None:
        """The defect that ended one of the tasks, if one has."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return next((error for task in ended if (error := task.exception())), None)

    def _sources(self) -> ClusterSources:
        from oomtracer.sinks.cluster_metrics import ClusterSources, Latencies

        counts, events, fence = self._marks.counts, self._events, self._fence
        return ClusterSources(
            marked=lambda: counts.marked,
            mark_latencies=lambda: Latencies(
                bounds_s=LATENCY_BUCKETS_S, counts=counts.latencies, sum_s=counts.latency_sum_s
            ),
            pending_marks=lambda: self._marks.pending,
            marked_pods=self._marks.marked_pods,
            is_fenced=(lambda: fence.is_enforced) if fence else None,
            kube_events=(lambda: _told(events)) if events else None,
            pending_kube_events=lambda: events.pending if events else 0,
            pods=lambda: len(self._directory),
            is_in_contact=lambda: self._watcher.current_for_s() is not None,
            waiting_for_names=lambda: self._naming.waiting if self._naming else 0,
            pod_requests=lambda: self._watcher.requests,
            missed_pod_changes=lambda: self._watcher.missed,
            last_sync_s=lambda: self._watcher.last_sync_s,
            pod_request_errors=lambda: {kind.value: n for kind, n in self._watcher.errors.items()},
        )

    def _make_pod_kills(self) -> PodKills | None:
        if not self._counts_pods:
            return None
        from oomtracer.sinks.pod_metrics import PodKills

        return PodKills(self._directory.pods, self._cluster.pod_metrics)

    def _find(self, workload: Workload) -> PodIdentity | None:
        return self._directory.find(workload.pod_uid, workload.container_id)

    def _delivery(self, limiter: WriteLimiter) -> Delivery | None:
        if self._fence is None:
            return None
        return Delivery(
            api=self._api,
            directory=self._directory,
            marking=self._cluster.marking,
            limiter=limiter,
            fence=self._fence,
            clock=boot_clock,
        )

    def _make_fence(self, limiter: WriteLimiter) -> Fence | None:
        if self._cluster.marking.is_dry_run:
            return None
        return Fence(
            api=self._api,
            directory=self._directory,
            marking=self._cluster.marking,
            limiter=limiter,
            own_pod=_own_pod(self._cluster),
        )

    def _make_events(self, limiter: WriteLimiter) -> EventSink | None:
        if not self._cluster.events:
            return None
        events = EventSink(
            self._api,
            node=self._node_name,
            marking=self._cluster.marking,
            lookup=self._find,
            decision_of=self._marks.decision_of,
            limiter=limiter,
            outbox=self._outboxes.events,
            age_s=self._outboxes.ages,
        )
        self._marks.on_marked.append(events.marked)
        return events


def _own_pod(cluster: Cluster) -> tuple[str, str] | None:
    namespace, name = cluster.pod_namespace, cluster.pod_name
    return (namespace, name) if namespace and name else None


def _intent(cluster: Cluster) -> str:
    """What is done to pods, for the log: a dry run must not look like a run that marks."""
    marking = cluster.marking
    events = "Events on" if cluster.events else "no Events"
    if marking.is_dry_run:
        return f"{events}; dry run: no pod is marked (neither --victim-annotation nor --victim-label)"
    kinds = {"annotation": marking.annotation, "label": marking.label}
    marks = " and ".join([f"{kind} {mark.key}={mark.value}" for kind, mark in kinds.items() if mark])
    budget = f"{marking.budget.count} in {marking.budget.period_s:g} s"
    return f"{events}; marking pods with {marks}, --mark-on {marking.mark_on}, at most {budget}"


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, Exception):
            logger.error("%s: ended with a defect", task.get_name(), exc_info=result)


def _told(events: EventSink) -> dict[str, int]:
    dropped = {reason: events.dropped[reason] for reason in DROP_REASONS}
    return {"sent": events.sent, "updated": events.updated} | dropped

"""Kills by container, for the pods of this node: there at 0 before the first kill, gone some time after the pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from oomtracer.config import PodMetrics
from oomtracer.events import OomReport, Outcome, WorkloadKind
from oomtracer.pods import Pod
from oomtracer.sinks import age_s

PREFIX = "oom_tracer_"
# Several scrapes see the last state of a pod that is gone.
KEEP_S = 600.0
MAX_CONTAINERS = 2000
_LABELS = ("namespace", "pod", "container")
_FINISHED = frozenset({"Succeeded", "Failed"})


class Container(NamedTuple):
    """What a container is known by. ``container`` is empty for a process in the pod's own cgroup."""

    namespace: str
    pod: str
    container: str


# Nobody can name a pod so: its namespace is not empty.
OTHER = Container("", "other", "")


@dataclass(slots=True)
class _Count:
    seen_s: float
    kills: int = 0
    silent: int = 0
    last_kill_s: float = 0.0
    """Unix time."""


class PodKills:
    """A sink that counts kills by container, and their metrics."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Pod]],
        mode: PodMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._pods = pods
        self._mode = mode
        self._clock = clock
        self._wall_clock = wall_clock
        self._counts: dict[Container, _Count] = {}

    def emit(self, report: OomReport) -> None:
        """Count one report, if it is the kill of a process in a pod whose name is known."""
        workload = report.workload
        if workload.kind is not WorkloadKind.POD or not workload.resolved or not _is_kill(report):
            return
        key = Container(workload.namespace or "", workload.pod or "", workload.container or "")
        count = self._count(key)
        count.seen_s = self._clock()
        count.kills += 1
        # A group kill takes the container's first process too, in a report of its own.
        count.silent += report.init_died is False and report.group is None
        count.last_kill_s = self._wall_clock() - age_s(report)

    def collect(self) -> Iterator[Metric]:
        """The metrics, as the registry asks for them."""
        self._follow_pods()
        kills = CounterMetricFamily(f"{PREFIX}pod_kills", "Processes killed in a container.", labels=_LABELS)
        text = "Processes killed in a container whose first process went on."
        silent = CounterMetricFamily(f"{PREFIX}silent_kills", text, labels=_LABELS)
        text = "Unix time of the last kill in a container."
        last = GaugeMetricFamily(f"{PREFIX}pod_last_kill_timestamp_seconds", text, labels=_LABELS)
        for key, count in self._counts.items():
            kills.add_metric(key, count.kills)
            silent.add_metric(key, count.silent)
            if count.kills:
                last.add_metric(key, count.last_kill_s)
        return iter((kills, silent, last))

    def _count(self, key: Container) -> _Count:
        if key not in self._counts and len(self._counts) >= MAX_CONTAINERS:
            key = OTHER
        return self._counts.setdefault(key, _Count(self._clock()))

    def _follow_pods(self) -> None:
        now = self._clock()
        for pod in self._pods():
            for name in pod.containers:
                key = Container(pod.namespace, pod.name, name)
                if self._mode is PodMetrics.ALL and pod.phase not in _FINISHED:
                    self._count(key).seen_s = now
                elif key in self._counts and self._counts[key].kills:
                    self._counts[key].seen_s = now
        gone = [key for key, count in self._counts.items() if count.seen_s + KEEP_S < now and key != OTHER]
        for key in gone:
            del self._counts[key]


def _is_kill(report: OomReport) -> bool:
    return not (report.selftest or report.shared_memory or report.outcome is Outcome.ALREADY_EXITING)

"""Prometheus metrics: plain counters while kills happen, read at scrape by one collector.

Nothing that a pod controls freely is ever a label. Every combination of enumerated labels is there from the
start, so that ``increase()`` sees the first kill.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from oomtracer.cgroups import unit_label
from oomtracer.events import LimitOwner, Outcome, Scope
from oomtracer.sinks import age_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from oomtracer.events import OomReport

PREFIX = "oom_tracer_"
NO_OWNER = "none"
OTHER_UNITS = "other"
MAX_UNITS = 500
LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_KILL_LABELS = ("scope", "limit_owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What other components count; each is asked at every scrape.

    ``events`` maps stage and reason to records, ``lost`` a stage to reports lost there, ``hooks`` a hook to whether it is attached,
    ``pinned`` is None where nothing is to be. ``kernel_kills`` is ``/proc/vmstat oom_kill`` (None where the kernel has no such line).
    """

    version: str
    libbpf: str
    events: Callable[[], Mapping[tuple[str, str], int]]
    lost: Callable[[], Mapping[str, int]]
    hooks: Callable[[], Mapping[str, bool]]
    repeated: Callable[[], int]
    second_kills: Callable[[], int]
    pinned: Callable[[], bool | None]
    kernel_kills: Callable[[], int | None]
    backfilled: Callable[[], int]
    queued_bytes: Callable[[], int]
    connections: Callable[[], Mapping[str, int]]


class Collector(Protocol):
    """More metrics of others."""

    def collect(self) -> Iterable[Metric]:
        """The families, asked at every scrape."""


class Metrics:
    """A sink that counts reports, and the page that ``/metrics`` serves."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._collectors: list[Collector] = []
        self._kills: Counter[tuple[str, str]] = Counter()
        self._incidents: Counter[tuple[str, str]] = Counter()
        self._units: Counter[str] = Counter()
        self._selftests = 0
        self._marks = 0
        self._sharers = 0
        self._last_kill_seconds = 0.0
        self._latencies = [0] * (len(LATENCY_BUCKETS_SECONDS) + 1)
        self._latency_sum_seconds = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, *collectors: Collector) -> None:
        """Show the metrics of these too."""
        self._collectors += collectors

    def emit(self, report: OomReport) -> None:
        """Count one report."""
        age = age_s(report)
        self._observe_latency(age)
        if report.selftest:
            self._selftests += 1
        elif report.shared_memory:
            self._sharers += 1
        elif report.outcome is Outcome.ALREADY_EXITING:
            self._marks += 1
        else:
            self._count_kill(report)
            self._last_kill_seconds = time.time() - age

    def _count_kill(self, report: OomReport) -> None:
        labels = (report.scope.value, report.limit.owner.value if report.limit else NO_OWNER)
        self._kills[labels] += 1
        if report.incident == report.id:
            self._incidents[labels] += 1
        unit = unit_label(report.workload)
        if unit is not None:
            self._units[unit if unit in self._units or len(self._units) < MAX_UNITS else OTHER_UNITS] += 1

    def _observe_latency(self, seconds: float) -> None:
        self._latencies[bisect_left(LATENCY_BUCKETS_SECONDS, seconds)] += 1
        self._latency_sum_seconds += seconds

    def page(self, accept: str) -> tuple[bytes, str]:
        """The metrics page and its content type: OpenMetrics or text, as the Accept header asks."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        yield from self._of_reports()
        yield from self._of_sources(self._sources)
        kernel_kills = self._sources.kernel_kills()
        if kernel_kills is not None:
            text = "The kernel's own count since boot (/proc/vmstat oom_kill)."
            yield _counter("kernel_kills", text, kernel_kills)
        for collector in self._collectors:
            yield from collector.collect()

    def _of_reports(self) -> Iterator[Metric]:
        yield _kills("kills", "Processes killed.", self._kills)
        yield _kills("incidents", "Runs of the OOM killer; a group kill is one.", self._incidents)
        yield _labelled("unit_kills", "Processes killed in systemd units.", "unit", self._units)
        text = "Kills that oomtracer selftest made; not in kills_total."
        yield _counter("selftest_kills", text, self._selftests)
        yield _counter("marks_without_kill", "Victims that were exiting already.", self._marks)
        text = "Processes killed because they share a victim's memory."
        yield _counter("shared_memory_kills", text, self._sharers)
        text = "Unix time of the last kill; 0 before the first."
        yield _gauge("last_kill_timestamp_seconds", text, self._last_kill_seconds)
        yield self._latency()

    def _of_sources(self, sources: Sources) -> Iterator[Metric]:
        labels = {"version": sources.version, "libbpf": sources.libbpf}
        yield _gauge("build_info", "The program and the library it loads with.", 1, **labels)
        events = CounterMetricFamily(
            f"{PREFIX}events", "Kills by stage and reason.", labels=("stage", "reason")
        )
        for stage_and_reason, count in sorted(sources.events().items()):
            events.add_metric(stage_and_reason, count)
        yield events
        text = "Kills of processes told before as sharers of memory."
        yield _counter("repeated_kills", text, sources.repeated())
        text = "Group members that the kernel killed, and counted, once more."
        yield _counter("second_kills", text, sources.second_kills())
        text = "Kills not reported, by where they were lost."
        yield _labelled("lost_events", text, "stage", sources.lost())
        text = "Whether a kernel hook is attached."
        yield _labelled("hook_attached", text, "hook", sources.hooks(), GaugeMetricFamily)
        pinned = sources.pinned()
        if pinned is not None:
            text = "Whether the programs and their ring outlive the agent."
            yield _gauge("pinned", text, pinned)
        text = "Kills that only the kernel's log told; not in kills_total."
        yield _counter("backfilled_kills", text, sources.backfilled())
        text = "Reports that standard output has not taken yet."
        yield _gauge("output_queue_bytes", text, sources.queued_bytes())
        text = "Connections to this page's server."
        yield _labelled("http_connections", text, "result", sources.connections())

    def _latency(self) -> Metric:
        bounds = [*map(str, LATENCY_BUCKETS_SECONDS), "+Inf"]
        family = HistogramMetricFamily(f"{PREFIX}report_latency_seconds", "From the kill to its report.")
        family.add_metric(
            (), list(zip(bounds, accumulate(self._latencies), strict=True)), self._latency_sum_seconds
        )
        return family


def _kills(name: str, text: str, counts: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=_KILL_LABELS)
    for scope in Scope:
        for owner in (*LimitOwner, NO_OWNER):
            family.add_metric((scope, owner), counts.get((scope.value, str(owner)), 0))
    return family


def _labelled(
    name: str,
    text: str,
    label: str,
    counts: Mapping[str, float],
    family: type[CounterMetricFamily | GaugeMetricFamily] = CounterMetricFamily,
) -> Metric:
    metric = family(f"{PREFIX}{name}", text, labels=(label,))
    for value, count in sorted(counts.items()):
        metric.add_metric((value,), count)
    return metric


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}{name}", text, value=value)


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family

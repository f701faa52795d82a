"""What the cluster half of the agent counts: marks, Events, the pods of this node and the way to the API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

PREFIX = "oom_tracer_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """A histogram: one count more than there are bounds, not cumulative, and the sum of all values."""

    bounds_s: Sequence[float]
    counts: Sequence[int]
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSources:
    """What other components count; each is asked at every scrape.

    ``is_fenced`` is None where nothing is marked, ``kube_events`` where none are sent.
    """

    marked: Callable[[], Mapping[tuple[str, str], int]]
    mark_latencies: Callable[[], Latencies]
    pending_marks: Callable[[], int]
    marked_pods: Callable[[], int]
    is_fenced: Callable[[], bool] | None
    kube_events: Callable[[], Mapping[str, int]] | None
    pending_kube_events: Callable[[], int]
    pods: Callable[[], int]
    is_in_contact: Callable[[], bool]
    waiting_for_names: Callable[[], int]
    pod_requests: Callable[[], Mapping[str, int]]
    pod_request_errors: Callable[[], Mapping[str, int]]
    missed_pod_changes: Callable[[], int]
    last_sync_s: Callable[[], float]


class ClusterMetrics:
    """The families of the cluster half."""

    def __init__(self, sources: ClusterSources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """The metrics, as the registry asks for them."""
        yield from self._marks()
        yield from self._events()
        yield from self._directory()

    def _marks(self) -> Iterator[Metric]:
        sources = self._sources
        text = "Decisions about victims' pods, and what came of marks."
        marked = CounterMetricFamily(f"{PREFIX}marked_victims", text, labels=("stage", "reason"))
        for labels, count in sorted(sources.marked().items()):
            marked.add_metric(labels, count)
        yield marked
        yield _histogram("mark_latency_seconds", "From the kill to its mark.", sources.mark_latencies())
        yield _gauge("pending_marks", "Marks on their way.", sources.pending_marks())
        text = "Pods of this node that carry the mark and are still there."
        yield _gauge("marked_pods", text, sources.marked_pods())
        if sources.is_fenced:
            text = "Whether an admission policy is proved to limit what this agent may change."
            yield _gauge("admission_policy_enforced", text, sources.is_fenced())

    def _events(self) -> Iterator[Metric]:
        sources = self._sources
        if sources.kube_events:
            text = "Kubernetes Events sent and updated, and what was not told, by reason."
            yield _labelled("kubernetes_events", text, "result", sources.kube_events())
            text = "Kubernetes Events that wait to be sent."
            yield _gauge("pending_kubernetes_events", text, sources.pending_kube_events())

    def _directory(self) -> Iterator[Metric]:
        sources = self._sources
        yield _gauge("pods", "Pods of this node that are known.", sources.pods())
        text = "Whether the pods of this node are being followed."
        yield _gauge("pods_followed", text, sources.is_in_contact())
        text = "Kills whose pod or container has no name yet."
        yield _gauge("waiting_for_names", text, sources.waiting_for_names())
        text = "Requests for the pods of this node."
        yield _labelled("pod_requests", text, "verb", sources.pod_requests())
        text = "Unix time of the last word about pods from the API server; 0 before the first."
        yield _gauge("pods_last_sync_timestamp_seconds", text, sources.last_sync_s())
        text = "Changes of pods that a watch had kept to itself and a list then told."
        yield CounterMetricFamily(f"{PREFIX}missed_pod_changes", text, value=sources.missed_pod_changes())
        text = "Lists and watches of pods that failed, by kind."
        yield _labelled("pod_request_errors", text, "kind", sources.pod_request_errors())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value=float(value))


def _labelled(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, latencies: Latencies) -> Metric:
    bounds = [*map(str, latencies.bounds_s), "+Inf"]
    family = HistogramMetricFamily(f"{PREFIX}{name}", text)
    family.add_metric((), list(zip(bounds, accumulate(latencies.counts), strict=True)), latencies.sum_s)
    return family

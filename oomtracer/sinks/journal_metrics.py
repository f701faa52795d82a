"""What the journal counts of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from oomtracer.journal import Journal

PREFIX = "oom_tracer_journal_"
EVICTED = ("age", "size", "owed")
DROPPED = ("records", "reports", "deliveries", "other")


class JournalMetrics:
    """The families of the journal, asked at every scrape."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def collect(self) -> Iterator[Metric]:
        """The metrics, as the registry asks for them."""
        journal = self._journal
        text = "1 while the journal can be written, 0 while it goes on in memory."
        yield GaugeMetricFamily(f"{PREFIX}writable", text, value=not journal.fault)
        text = "Writes that wait in memory for the disk."
        yield GaugeMetricFamily(f"{PREFIX}waiting_writes", text, value=journal.in_memory)
        text = "Writes that had to wait in memory."
        yield CounterMetricFamily(f"{PREFIX}deferred_writes", text, value=journal.deferred_total)
        text = "Writes that the disk never took, by what they were."
        yield _labelled(
            "dropped_writes", text, "kind", {**dict.fromkeys(DROPPED, 0), **journal.dropped_total}
        )
        text = "Files that were no journal of ours, or a broken one, and put aside."
        yield CounterMetricFamily(f"{PREFIX}set_aside_files", text, value=sum(journal.set_aside.values()))
        text = "Reports that left the journal, by why."
        yield _labelled(
            "evicted_reports", text, "reason", {**dict.fromkeys(EVICTED, 0), **journal.evicted_total}
        )


def _labelled(name: str, text: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family

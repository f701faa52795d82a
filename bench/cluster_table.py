"""The results with a cluster as rows, with the budgets they were meant to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results import percentile
from schedule import ideal_schedule
from table import MIB, Row, idle_row, latency, memory_text, mib, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster_results import ClusterResults, Import, MarkStorm, Node
    from process import Memory

PSS_BYTES = 48 * MIB
LATENCY_NS = 50_000_000
# What the same node may take more in a larger cluster: what two starts differ by.
SAME_BYTES = MIB // 2
DEFAULT_QPS, DEFAULT_BURST = 5, 10


def cluster_rows(results: ClusterResults) -> list[Row]:
    """All rows in their order; the agent has metrics, marks and Events switched on."""
    quiet, usual, crowded = results.quiet, results.usual, results.crowded
    return [
        *_import_rows(results),
        Row("memory after start, cluster, 1 pod", memory_text(quiet.memory)),
        idle_row(f"idle for {quiet.idle.seconds:g} s, cluster", quiet.idle, with_budget=False),
        *_node_rows(usual, with_budget=True),
        *_node_rows(crowded, with_budget=False),
        *_large_rows(usual, results.large),
        _latency_row(f"kill to PATCH, {usual.pods} pods", results.latency_ns),
        _latency_row("kill to PATCH, on a new connection", results.new_latency_ns),
        _latency_row(f"kill to PATCH, {crowded.pods} pods, changes", results.busy_latency_ns),
        *_storm_rows(results.storm),
    ]


def _import_rows(results: ClusterResults) -> Iterator[Row]:
    imports = results.imports
    yield Row("import of aiohttp", _import(imports.aiohttp))
    yield Row("kubernetes_asyncio, as we import it", _import(imports.lean))
    yield Row("kubernetes_asyncio, by itself", _import(imports.ordinary))


def _import(one: Import) -> str:
    return f"{one.modules} modules, RSS {mib(one.memory.rss_bytes)}, USS {mib(one.memory.uss_bytes)}"


def _node_rows(node: Node, *, with_budget: bool) -> Iterator[Row]:
    suffix = f", {node.pods} pods"
    changes = node.changes
    smallest, largest = (size / 1000 for size in node.pod_bytes)
    yield Row(
        f"start to synced{suffix}",
        f"{spread(node.synced_seconds)}; pods of {smallest:.0f} to {largest:.0f} KB",
    )
    yield Row(f"peak of RSS until synced{suffix}", mib(node.peak_rss_bytes))
    yield from _memory_rows(f"after sync{suffix}", node.synced_memory, with_budget=with_budget)
    rate = changes.count / changes.seconds
    cpu = f"{changes.cpu_seconds / changes.seconds:.1%} of a CPU, {changes.cpu_seconds / changes.count * 1e6:.0f} µs each"
    late = f"server late by {changes.latest_seconds * 1000:.0f} ms at most"
    yield Row(f"{rate:.0f} changes/s for {changes.seconds:.0f} s{suffix}", f"{cpu} ({late})")
    yield from _memory_rows(f"after them{suffix}", node.after_memory, with_budget=with_budget)


def _memory_rows(when: str, memory: Memory, *, with_budget: bool) -> Iterator[Row]:
    budget = f"PSS {mib(PSS_BYTES)}" if with_budget else ""
    for name, size, text in (
        ("memory", memory.pss_bytes, memory_text(memory)),
        ("PSS alone in a container", memory.alone_bytes, mib(memory.alone_bytes)),
    ):
        yield Row(f"{name} {when}", text, budget, size <= PSS_BYTES if with_budget else None)


def _large_rows(usual: Node, large: Node) -> Iterator[Row]:
    suffix = f", {large.pods} of {large.pods + large.pods_elsewhere} pods"
    more = large.synced_memory.uss_bytes - usual.synced_memory.uss_bytes
    changes = large.changes
    rate = changes.count / changes.seconds
    yield Row(f"start to synced{suffix}", spread(large.synced_seconds))
    yield Row(
        f"memory after sync{suffix}",
        f"{memory_text(large.synced_memory)} (USS {more >> 10:+d} KiB)",
        "the same",
        more <= SAME_BYTES,
    )
    yield Row(
        f"{rate:.0f} changes/s on other nodes",
        f"{changes.cpu_seconds * 1e6 / changes.seconds:.0f} µs of CPU a second",
    )
    yield Row(
        "requests for pods of other nodes", f"{large.foreign_requests}", "0", large.foreign_requests == 0
    )


def _latency_row(name: str, latency_ns: Sequence[int]) -> Row:
    within = percentile(latency_ns, 99) < LATENCY_NS
    return Row(
        name, f"{latency(latency_ns)} ({len(latency_ns)} kills)", f"p99 {LATENCY_NS / 1e6:g} ms", within
    )


def _storm_rows(storm: MarkStorm) -> Iterator[Row]:
    killed, marked = storm.killed_ns, sorted(storm.marked_ns)
    ideal = ideal_schedule(killed, qps=storm.qps, burst=storm.burst)
    late = [max(at - due, 0) / 1e9 for at, due in zip(marked, ideal, strict=True)]
    took = (marked[-1] - killed[0]) / 1e9
    limit = f"--qps {storm.qps:g} --burst {storm.burst}"
    yield Row(
        f"storm: {len(killed)} kills in as many pods",
        f"killed in {(killed[-1] - killed[0]) / 1e9:.2f} s, marked in {took:.2f} s, "
        f"ideal {(ideal[-1] - killed[0]) / 1e9:.2f} s ({limit})",
    )
    yield Row(
        f"storm: later than {limit} wants",
        f"p50 {percentile(late, 50) * 1e3:.0f} ms, p99 {percentile(late, 99) * 1e3:.0f} ms, max {max(late) * 1e3:.0f} ms",
        f"{storm.answer_seconds:g} s: an answer",
        max(late) < storm.answer_seconds,
    )
    default = ideal_schedule(killed, qps=DEFAULT_QPS, burst=DEFAULT_BURST)
    yield Row(
        f"storm: at --qps {DEFAULT_QPS} --burst {DEFAULT_BURST}, computed",
        f"the last mark {(default[-1] - killed[0]) / 1e9:.0f} s after the first kill",
    )

"""The results as rows, with the budgets they were meant to keep, and the rows as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from results import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from process import Memory
    from results import Idle, Mode, Results

MIB = 1 << 20
ATTACHED_SECONDS = 0.4
PSS_BYTES = 32 * MIB
# An allocator takes and gives back a few pages: less is no growth.
GROWTH_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Row:
    """``within`` is whether the budget was kept; None where there is none."""

    name: str
    text: str
    budget: str = ""
    within: bool | None = None


def rows(results: Results) -> list[Row]:
    """All rows in their order."""
    bare = results.bare_start_seconds
    return [
        Row("start of `python -c pass`", spread(bare)),
        Row("memory of bare Python", memory_text(results.bare_memory)),
        *_mode_rows("", results.host),
        Row(
            "ring buffer, of that",
            f"{mib(results.host.start_memory.ring_bytes)} (size {mib(results.ring_size_bytes)})",
        ),
        *_mode_rows(", with metrics", results.metrics),
    ]


def _mode_rows(suffix: str, mode: Mode) -> Iterator[Row]:
    starts, storm, idle = mode.starts, mode.storm, mode.idle
    kills = len(mode.latency_ns) + storm.kills
    start, warm, after = mode.start_memory, mode.warm_memory, mode.storm_memory
    attached = median(starts.attached_seconds)
    budget = "" if suffix else f"{ATTACHED_SECONDS:g} s"
    within = None if suffix else attached <= ATTACHED_SECONDS
    yield Row(f"start to attached{suffix}", spread(starts.attached_seconds), budget, within)
    yield Row(f"start to tracing{suffix}", spread(starts.tracing_seconds))
    yield Row(f"kill to report, {len(mode.latency_ns)} paced{suffix}", latency(mode.latency_ns))
    yield Row(f"kill to report, {storm.kills} in a storm{suffix}", latency(storm.latency_ns))
    yield _memory_row(f"memory after start{suffix}", start, with_budget=not suffix)
    yield _memory_row(f"memory after {kills + storm.kills} kills{suffix}", after, with_budget=not suffix)
    yield Row(f"growth by the first {kills} kills{suffix}", _kib(start, warm))
    yield _growth_row(f"growth by {storm.kills} kills more{suffix}", warm, after)
    yield Row(f"CPU per kill{suffix}", f"{storm.cpu_seconds_per_kill * 1e6:.0f} µs")
    yield idle_row(f"idle for {idle.seconds:g} s{suffix}", idle)
    yield Row(
        f"storm: made, reported, lost{suffix}",
        f"{storm.kills_per_second:.0f}/s, {storm.reports_per_second:.0f}/s, {storm.lost}",
        "0 lost",
        storm.lost == 0,
    )
    yield Row(f"reports out of a full ring{suffix}", f"{mode.backlog_reports_per_second:.0f}/s")


def _memory_row(name: str, memory: Memory, *, with_budget: bool) -> Row:
    if not with_budget:
        return Row(name, memory_text(memory))
    return Row(name, memory_text(memory), f"PSS {mib(PSS_BYTES)}", memory.pss_bytes <= PSS_BYTES)


def _growth_row(name: str, before: Memory, after: Memory) -> Row:
    return Row(
        name, _kib(before, after), "none", after.anonymous_bytes - before.anonymous_bytes <= GROWTH_BYTES
    )


def idle_row(name: str, idle: Idle, *, with_budget: bool = True) -> Row:
    """What an agent does that has nothing to do."""
    threads = "1 thread" if idle.threads == 1 else f"{idle.threads} threads"
    text = f"{idle.cpu_seconds * 1e6:.0f} µs of CPU, {idle.voluntary_switches} wake-ups, {threads}"
    return Row(name, text, "no CPU", idle.cpu_seconds == 0) if with_budget else Row(name, text)


def spread(seconds: Sequence[float]) -> str:
    """Median, least and most."""
    low, middle, high = (f"{value * 1000:.0f}" for value in (min(seconds), median(seconds), max(seconds)))
    return f"{middle} ms ({low} to {high})"


def latency(latency_ns: Sequence[int]) -> str:
    """Half of all, and all but a hundredth."""
    return f"p50 {percentile(latency_ns, 50) / 1e6:.2f} ms, p99 {percentile(latency_ns, 99) / 1e6:.2f} ms"


def memory_text(memory: Memory) -> str:
    """Its three sizes."""
    sizes = (("PSS", memory.pss_bytes), ("USS", memory.uss_bytes), ("RSS", memory.rss_bytes))
    return ", ".join(f"{name} {mib(size)}" for name, size in sizes)


def mib(size: float) -> str:
    """Bytes as MiB."""
    return f"{size / MIB:.3g} MiB"


def _kib(before: Memory, after: Memory) -> str:
    return f"{(after.anonymous_bytes - before.anonymous_bytes) >> 10:+d} KiB"


def markdown(machine: Mapping[str, str], table: Sequence[Row]) -> str:
    """The machine's facts as a list, the rows as one table."""
    facts = [f"- {name}: {value}" for name, value in machine.items()]
    verdicts = {True: "within", False: "over", None: ""}
    cells = [(row.name, row.text, row.budget, verdicts[row.within]) for row in table]
    return "\n".join((*facts, "", *_table([("measured", "value", "budget", ""), *cells]), ""))


def _table(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        if number == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"

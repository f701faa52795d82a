"""What the journal costs: microseconds for each batch of kills, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from context import Context
from process import Memory
from results import percentile
from table import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalResults:
    """Seconds from the bytes of a kill to a report that outlasts the process, by size of the batch."""

    open_seconds: float
    one_seconds: list[float]
    many_seconds: list[float]
    """Of 64 kills."""
    sync_seconds: list[float]
    """Of the disk, for a page: what is paid once a second while kills come."""
    before_memory: Memory
    open_memory: Memory
    after_memory: Memory


def measure_journal(batches: int, context: Context) -> JournalResults:
    """Write so many batches of each size, in a process of its own."""
    context.say(f"journal: {batches} batches of 1 and of 64 kills")
    script = Path(__file__).with_name("journal_process.py")
    done = subprocess.run(
        [sys.executable, script, context.folder / "state", str(batches)],
        env=context.environment,
        cwd=script.parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    for name in ("before_memory", "open_memory", "after_memory"):
        found[name] = Memory(**found[name])
    return JournalResults(**found)


def journal_rows(results: JournalResults) -> Iterator[Row]:
    """Its rows in their order."""
    before, opened, after = results.before_memory, results.open_memory, results.after_memory
    yield Row("journal: opened", f"{results.open_seconds * 1000:.1f} ms")
    yield Row("journal: stored and added, 1 kill", _spread(results.one_seconds))
    yield Row("journal: stored and added, 64 kills", _spread(results.many_seconds))
    yield Row("journal: sync of the disk", _spread(results.sync_seconds))
    yield Row("journal: memory when opened", _growth(before, opened))
    yield Row("journal: memory after all kills", _growth(before, after))


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e6:.0f} µs, p99 {percentile(seconds, 99) * 1e6:.0f} µs"


def _growth(before: Memory, after: Memory) -> str:
    return f"USS {(after.uss_bytes - before.uss_bytes) >> 10:+d} KiB, RSS {(after.rss_bytes - before.rss_bytes) >> 10:+d} KiB"

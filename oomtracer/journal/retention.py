"""What leaves the journal, when, and in whose place: in small steps, each a transaction of a few milliseconds."""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections import Counter
from collections.abc import Callable

from oomtracer.journal import gone
from oomtracer.kernel.clock import boot_clock_ns

DEFAULT_MAX_BYTES = 64 << 20
DEFAULT_MAX_AGE_S = 720 * 3600.0
RAW_KEPT = 512
"""Raw records whose reports are made: what attribution is fed with after a restart."""

_BYTES_PER_RAW = 32 << 10
_LEAST_RAW_KEPT = 64
_GONE_KEPT, _BYTES_PER_GONE, _LEAST_GONE_KEPT = 4096, 1 << 10, 256
"""As many kills as the kernel's log can have, roughly; of a small journal some 4 % of it."""
_STEP_ROWS = 128
_AFTER_S = 1.0
_AT_LEAST_EVERY_S = 3600.0
_STEADY_NS = 3600 * 10**9
"""So long must the wall clock have run without a jump before reports of other boots are aged by it."""
_JUMP_NS = 60 * 10**9
_SLACK = 64
"""A part of the bound by which the file may exceed it before pruning no longer waits for an idle moment."""


class Retention:
    """Prunes by age and size.

    ``evicted`` counts reports by reason: ``age``, ``size``, and ``owed`` for those that had a delivery to come, of
    which there were too many.
    """

    def __init__(
        self,
        *,
        boot_id: str,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age_s: float = DEFAULT_MAX_AGE_S,
        wall_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] = boot_clock_ns,
    ) -> None:
        self.evicted: Counter[str] = Counter()
        self._boot_id = boot_id
        self._max_bytes = max_bytes
        # Of a small journal not more than a part, which is not the reports'.
        self._raw_kept = max(min(RAW_KEPT, max_bytes // _BYTES_PER_RAW), _LEAST_RAW_KEPT)
        self._gone_kept = max(min(_GONE_KEPT, max_bytes // _BYTES_PER_GONE), _LEAST_GONE_KEPT)
        self._max_age_ns = int(max_age_s * 10**9)
        self._wall_ns = wall_ns
        self._boot_ns = boot_ns
        self._offset_ns = wall_ns() - boot_ns()
        self._steady_since_ns = boot_ns()
        self._due_ns = boot_ns()
        self._changes = 0

    def changed(self, operations: int) -> None:
        """Say that so many operations were written."""
        self._changes += operations
        self._due_ns = min(self._due_ns, self._boot_ns() + int(_AFTER_S * 10**9))

    def due_in_s(self) -> float:
        """Seconds until the next step, where there is time for it."""
        return max(self._due_ns - self._boot_ns(), 0) / 10**9

    def step_if_pressing(self, connection: sqlite3.Connection) -> None:
        """Take a step where that cannot wait for an idle moment."""
        if self._changes >= RAW_KEPT or _used_bytes(connection) > self._max_bytes * (1 + 1 / _SLACK):
            self.step(connection)

    def step(self, connection: sqlite3.Connection) -> bool:
        """Remove a few rows of what is too much, inside the caller's transaction; tell whether there is more."""
        self._watch_the_clock()
        more = [
            _prune_raw(connection, self._raw_kept),
            self._prune_by_age(connection),
            self._prune_by_size(connection),
            self._shrink(connection),
        ]
        self._changes = 0
        self._due_ns = self._boot_ns() + (0 if any(more) else int(_AT_LEAST_EVERY_S * 10**9))
        return any(more)

    def _watch_the_clock(self) -> None:
        offset_ns = self._wall_ns() - self._boot_ns()
        if abs(offset_ns - self._offset_ns) > _JUMP_NS:
            self._steady_since_ns = self._boot_ns()
        self._offset_ns = offset_ns

    def _prune_by_age(self, connection: sqlite3.Connection) -> bool:
        # Of this boot by the boot clock, which nobody sets.
        removed = self._remove(
            connection,
            "age",
            "boot_id = ? AND boot_time_ns < ? AND pending = 0 ORDER BY boot_time_ns",
            (self._boot_id, self._boot_ns() - self._max_age_ns),
        )
        if self._boot_ns() - self._steady_since_ns >= _STEADY_NS:
            removed += self._remove(
                connection,
                "age",
                "+boot_id != ? AND time_us < ? AND pending = 0 ORDER BY time_us",
                (self._boot_id, (self._wall_ns() - self._max_age_ns) // 1000),
            )
        return removed >= _STEP_ROWS

    def _prune_by_size(self, connection: sqlite3.Connection) -> bool:
        if _used_bytes(connection) <= self._max_bytes:
            return False
        removed = 0
        for share, rows in _largest_shares(connection):
            removed += self._remove(
                connection, "size", "share = ? AND pending = 0 ORDER BY n", (share,), most=rows
            )
        if not removed:
            removed = self._remove(connection, "owed", "pending != 0 ORDER BY n", ())
        return removed > 0

    def _shrink(self, connection: sqlite3.Connection) -> bool:
        """Give pages back to the file system where the file has more of them than it may."""
        page_bytes, pages, free = _pages(connection)
        excess = min(pages - self._max_bytes // page_bytes, free)
        for _ in range(min(excess, _STEP_ROWS)):
            # One by one: the module steps a statement that returns nothing only once.
            connection.execute("PRAGMA incremental_vacuum(1)")
        return excess > _STEP_ROWS

    def _remove(
        self,
        connection: sqlite3.Connection,
        reason: str,
        which: str,
        values: tuple[object, ...],
        *,
        most: int = _STEP_ROWS,
    ) -> int:
        goes = f"SELECT n FROM reports WHERE {which} LIMIT ?"  # noqa: S608
        # The kernel's log may have these kills still: they are not to be told once more.
        gone.note(connection, self._boot_id, goes, (*values, most), kept=self._gone_kept)
        removed = connection.execute(
            f"DELETE FROM reports WHERE n IN ({goes})",  # noqa: S608
            (*values, most),
        ).rowcount
        if removed:
            self.evicted[reason] += removed
        return removed


def _prune_raw(connection: sqlite3.Connection, kept: int) -> bool:
    removed = connection.execute(
        "DELETE FROM records WHERE n IN (SELECT n FROM records WHERE done = 1 ORDER BY n DESC LIMIT ? OFFSET ?)",
        (_STEP_ROWS * 4, kept),
    ).rowcount
    return removed >= _STEP_ROWS * 4


def _largest_shares(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Whose reports go, and how many of each, so that always the largest share at that moment loses one."""
    counts = connection.execute("SELECT share, count(*) FROM reports WHERE pending = 0 GROUP BY share")
    heap = [(-count, share) for share, count in counts]
    heapq.heapify(heap)
    goes: Counter[str] = Counter()
    for _ in range(_STEP_ROWS):
        if not heap or heap[0][0] == 0:
            break
        count, share = heap[0]
        heapq.heapreplace(heap, (count + 1, share))
        goes[share] += 1
    return list(goes.items())


def _pages(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Bytes of a page, pages of the file, and the free ones among them."""
    names = ("page_size", "page_count", "freelist_count")
    size, count, free = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return size, count, free


def _used_bytes(connection: sqlite3.Connection) -> int:
    size, count, free = _pages(connection)
    return size * (count - free)

"""What the writer is asked to do, and what waits while the disk takes nothing."""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from oomtracer.journal.trouble import is_trouble

RAW = "records"
"""The kind that goes first where memory is short: a crash would lose these anyway, and their reports are kept."""


@dataclass(slots=True, eq=False)
class Operation:
    """One atomic change, or question. ``size_bytes``: about what it holds in memory while it waits."""

    run: Callable[[sqlite3.Connection], Any]
    kind: str
    size_bytes: int
    deliver: Callable[[Operation], None]
    """Called once it is settled, in the writer's thread."""
    result: Any = None
    defect: Exception | None = None
    is_settled: bool = False

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Run it in a savepoint and keep what it returned or raised; repeated, the first answer stays.

        Raises sqlite3.Error or OSError where the database is in trouble, not the operation.
        """
        connection.execute("SAVEPOINT operation")
        result, defect = None, None
        try:
            result = self.run(connection)
        except Exception as error:
            if is_trouble(error):
                raise
            connection.execute("ROLLBACK TO operation")
            defect = error
        connection.execute("RELEASE operation")
        if not self.is_settled:
            self.result, self.defect = result, defect

    def settle(self) -> None:
        """Tell whoever waits, once."""
        if not self.is_settled:
            self.is_settled = True
            self.deliver(self)


class Backlog:
    """Operations that the disk did not take yet, in order, bounded in number and bytes.

    ``dropped`` counts those that did not fit, by their kind.
    """

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self.dropped: Counter[str] = Counter()
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[Operation] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._waiting)

    def add(self, operations: Sequence[Operation]) -> bool:
        """Append; tell whether some had to be dropped: the oldest raw records first, then the oldest of all."""
        self._waiting.extend(operations)
        self._bytes += sum(each.size_bytes for each in operations)
        if not self._exceeds(1):
            return False
        # To the half, so that it is not sorted anew for each that comes.
        for of_kind in (lambda each: each.kind == RAW, lambda _: True):
            self._drop(of_kind)
        return True

    def clear(self) -> None:
        """All is written."""
        self._waiting.clear()
        self._bytes = 0

    def _exceeds(self, parts: int) -> bool:
        return len(self._waiting) > self._most // parts or self._bytes > self._most_bytes // parts

    def _drop(self, of_kind: Callable[[Operation], bool]) -> None:
        kept: deque[Operation] = deque()
        while self._waiting:
            each = self._waiting.popleft()
            if self._exceeds_with(kept) and of_kind(each):
                self._bytes -= each.size_bytes
                self.dropped[each.kind] += 1
            else:
                kept.append(each)
        self._waiting = kept

    def _exceeds_with(self, kept: deque[Operation]) -> bool:
        count = len(self._waiting) + 1 + len(kept)
        return count > self._most // 2 or self._bytes > self._most_bytes // 2

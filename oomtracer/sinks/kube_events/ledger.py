"""What is still to be told, and when it may be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

from oomtracer.kube.event import Event, Occurrences
from oomtracer.sinks.kube_events.bucket import REFILL_S, Buckets
from oomtracer.sinks.kube_events.outbox import EventOutbox, NoEventOutbox
from oomtracer.sinks.kube_events.remembered import to_remember
from oomtracer.sinks.kube_events.series import Key, Occurrence, Series

END_S = 360.0
"""A series of which all is told ends so long after its last kill; the next kill has an Event of its own."""
WAIT_S = 3_600.0
"""One that waits to be told ends so long after its last kill: by default no API server keeps an Event for longer.

At one write a second all of them have had their turn by then.
"""
UPDATE_INTERVAL_S = 10.0
"""At most so often is one Event updated."""
MAX_SERIES = 1_024
"""Some 2 MiB in all."""
# Of an object's burst: a counter that ticks may not cost its other containers their first Event.
_RESERVE_FOR_FIRST = 5


class Ledger:
    """All series that still run, and what of them is to be written next.

    ``dropped`` counts, by reason, incidents that nobody will be told of. ``outbox`` learns of each change.
    """

    def __init__(self, outbox: EventOutbox | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self._outbox = outbox or NoEventOutbox()
        self._series: dict[Key, Series] = {}
        self._buckets = Buckets()
        self._turns = count()
        self._writing: Series | None = None
        self._is_backing_off = False
        self._failed_s = -math.inf

    @property
    def pending(self) -> int:
        """Events that wait to be created or updated."""
        return len(self._pending())

    def restore(self, remembered: Iterable[Series], *, now_s: float) -> None:
        """Go on with the series of an earlier process, those first that began first."""
        for series in sorted(self._take_over(remembered), key=lambda each: each.last_s):
            self._series[series.key] = series
            if series.untold and now_s - series.last_s >= WAIT_S:
                self.drop(series, "expired")
        self._end_old(now_s)

    def _take_over(self, remembered: Iterable[Series]) -> list[Series]:
        taken = list(remembered)
        for series in taken:
            series.turn = next(self._turns)
        return taken

    def record(
        self, key: Key, occurrence: Occurrence, make_event: Callable[[], Event], *, now_s: float
    ) -> None:
        """Count one incident in its series; where none runs, one begins with the Event that is made."""
        self._end_old(now_s)
        last_s = now_s - occurrence.ago_s
        series = self._series.get(key)
        if series is None:
            event = make_event()
            self._make_room()
            series = Series(key=key, event=event, occurrences=Occurrences(1, occurrence.time), last_s=last_s)
        else:
            del self._series[key]
            series.occurrences = Occurrences(series.occurrences.count + 1, occurrence.time)
        if series.untold == 1:
            series.turn = next(self._turns)
        series.last_s = max(series.last_s, last_s)
        self._series[key] = series
        self._outbox.recorded(to_remember(series, now_s=now_s), occurrence.told, occurrence.report_ids)

    def next(self, now_s: float) -> Series | None:
        """What to write now; its ``told``, ``gone``, ``failed`` or ``drop`` must be called before the next."""
        self._end_old(now_s)
        ready = [series for series in self._pending() if self._ready_s(series) <= now_s]
        if not ready:
            return None
        # A first word before a count.
        series = min(ready, key=lambda each: (each.told > 0, each.turn))
        if not series.is_paid:
            self._buckets.take(series.key.uid, now_s=now_s)
            series.is_paid = True
        self._writing = series
        return series

    def next_s(self) -> float | None:
        """When there will be something to write; None if nothing waits."""
        return min([self._ready_s(series) for series in self._pending()], default=None)

    def answered(self) -> None:
        """The API server said what it thinks of a write, whatever that was: it is not away."""
        self._is_backing_off = False

    def told(self, series: Series, counted: int, *, now_s: float) -> None:
        """The API server has the Event with that count."""
        self._writing = None
        series.told = counted
        series.not_before_s = now_s + UPDATE_INTERVAL_S
        series.is_failing = False
        series.is_paid = False
        self._outbox.told(series.event.name, counted)

    def gone(self, series: Series) -> None:
        """The Event's time to live is over: it is to be created anew, with the same name."""
        self._writing = None
        series.told = 0
        self._outbox.told(series.event.name, 0)

    def failed(self, series: Series, *, now_s: float) -> None:
        """The API server did not take it: others first, then again. What its object waits for keeps its order."""
        self._writing = None
        self._is_backing_off = True
        self._failed_s = now_s
        series.is_failing = True
        of_object = [each for each in self._pending() if each.key.uid == series.key.uid]
        for each in sorted(of_object, key=lambda each: each.turn):
            each.turn = next(self._turns)

    def drop(self, series: Series, reason: str) -> None:
        """End the series; what of it is not told never will be."""
        if self._writing is series:
            self._writing = None
        del self._series[series.key]
        self.dropped[reason] += series.untold
        self._outbox.ended(series.event.name)

    def hurry(self) -> None:
        """Let counts that wait for their interval be written at once: there is no later."""
        for series in self._series.values():
            series.not_before_s = 0.0

    def drop_all(self, reason: str) -> None:
        """End all series."""
        for series in list(self._series.values()):
            self.drop(series, reason)

    def _pending(self) -> list[Series]:
        return [series for series in self._series.values() if series.untold]

    def _ready_s(self, series: Series) -> float:
        return max(series.not_before_s, self._allowed_s(series))

    def _allowed_s(self, series: Series) -> float:
        if series.is_paid:
            return -math.inf
        reserve = _RESERVE_FOR_FIRST if series.told else 0
        return self._buckets.ready_s(series.key.uid, reserve=reserve)

    def _end_old(self, now_s: float) -> None:
        old = []
        for series in self._series.values():  # in the order of their last kills
            if now_s - series.last_s < END_S:
                break
            is_over = not series.untold or now_s - series.last_s >= WAIT_S
            if is_over and series is not self._writing:
                old.append(series)
        for series in old:
            self.drop(series, self._why_untold(series, now_s))

    def _why_untold(self, series: Series, now_s: float) -> str:
        """What kept it from being told for so long."""
        if self._is_backing_off or series.is_failing:
            return "unreachable"
        # A token is taken as soon as there is one, where that is all that is waited for.
        if self._allowed_s(series) > now_s - REFILL_S:
            return "pod_limit"
        # An outage that is over has made the queue longer than the time that was left.
        return "unreachable" if self._failed_s >= series.last_s else "queue_full"

    def _make_room(self) -> None:
        if len(self._series) < MAX_SERIES:
            return
        candidates = [series for series in self._series.values() if series is not self._writing]
        waiting = Counter(series.key.uid for series in candidates if series.untold)
        # Of a series that is told nothing is lost; the next kill begins another one. Else it is the turn of the
        # object with the most: it may not cost others their Event.
        self.drop(
            min(
                candidates,
                key=lambda each: (each.untold > 0, -waiting[each.key.uid] if each.untold else 0, each.last_s),
            ),
            "queue_full",
        )

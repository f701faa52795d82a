"""Pod and container names for reports, as soon as the API server has told them.

A container that has just started may be killed before the kubelet has told anybody its id. Standard output waits
for it a moment, what is sent to the cluster longer, and nobody waits for the kills of others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from oomtracer.events import OomReport, WorkloadKind
from oomtracer.pipeline.fan_out import hand_out
from oomtracer.pipeline.names import Lookup, with_names, with_trigger
from oomtracer.pods import Pod
from oomtracer.sinks import Sink

TELL_AFTER_S = 2.0
COMPLETE_AFTER_S = 30.0
MAX_WAITING = 1000
# A busy node's pods change a hundred times a second.
_RETRY_PAUSE_S = 0.02


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None:
        """Never call it."""


class Scheduler(Protocol):
    """The part of an event loop that is used here."""

    def time(self) -> float:
        """Seconds of a monotonic clock."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back once after so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The sinks that a report goes to: see ``Naming``."""

    told: Sequence[Sink] = ()
    named: Sequence[Sink] = ()
    complete: Sequence[Sink] = ()


@dataclass(slots=True)
class _Waiting:
    """A report of a pod of which something is not known yet."""

    report: OomReport
    since_s: float
    ways: Ways
    pod: Pod | None = None
    """As it was looked up last."""
    is_told: bool = False


class Naming:
    """A sink that names the pods of reports and hands them on.

    ``told`` sinks get each report after at most 2 s, with ``resolved`` False if the pod is not known by then.
    ``named`` ones get it as soon as the pod is known. ``complete`` ones get it once all is known, or after 30 s in
    which the pods of this node were known (``synced_for_s``; None while they are not), at the latest after
    ``give_up_after_s``; then the ``named`` ones do too. Each gets each report once.

    ``untold`` counts reports that a sink failed to take.
    """

    def __init__(  # noqa: PLR0913 - three ways out
        self,
        lookup: Lookup,
        *,
        told: Sequence[Sink],
        named: Sequence[Sink],
        complete: Sequence[Sink],
        synced_for_s: Callable[[], float | None],
        give_up_after_s: float,
        scheduler: Scheduler,
    ) -> None:
        self.untold = 0
        self._lookup = lookup
        self._ways = Ways(told=told, named=named, complete=complete)
        self._synced_for_s = synced_for_s
        self._give_up_after_s = give_up_after_s
        self._scheduler = scheduler
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._timer: Timer | None = None
        self._due_s = 0.0
        self._retry: Timer | None = None

    @property
    def waiting(self) -> int:
        """Reports that wait for a name."""
        return len(self._waiting)

    def emit(self, report: OomReport) -> None:
        """Take one report."""
        self._take(_Waiting(report, self._scheduler.time(), self._ways))

    def resume(self, report: OomReport, ways: Ways, *, age_s: float) -> None:
        """Take one of an earlier process, ``age_s`` seconds after its kill, for those that have not had it."""
        self._take(_Waiting(report, self._scheduler.time() - age_s, ways))

    def _take(self, entry: _Waiting) -> None:
        report = entry.report
        if report.workload.kind is not WorkloadKind.POD:
            self._finish(entry)
        elif not self._advance(entry):
            self._wait(entry)

    def pods_changed(self) -> None:
        """Look the waiting ones up again, soon."""
        if self._waiting and self._retry is None:
            self._retry = self._scheduler.call_later(_RETRY_PAUSE_S, self._look_again)

    def finish(self, *, keeps: bool = False) -> None:
        """Hand on all that waits, as far as it is known; to the ``told`` ones alone if it ``keeps`` for the others."""
        for timer in (self._timer, self._retry):
            if timer:
                timer.cancel()
        while self._waiting:
            entry = self._waiting.popitem(last=False)[1]
            if keeps:
                self._tell(entry)
            else:
                self._finish(entry)

    def _advance(self, entry: _Waiting) -> bool:
        """Hand on as far as names are known; whether that is the end."""
        identity = self._lookup(entry.report.workload)
        if identity is None or identity.pod is entry.pod:
            return False
        is_first, entry.pod = entry.pod is None, identity.pod
        entry.report = with_names(entry.report, identity, self._lookup)
        if is_first:
            self._hand_out(entry, entry.ways.named)
        workload = entry.report.workload
        if workload.container is None and workload.container_id is not None:
            return False
        self._finish(entry)
        return True

    def _finish(self, entry: _Waiting) -> None:
        self._tell(entry)
        if entry.pod is None:
            self._hand_out(entry, entry.ways.named)
        self._hand_out(entry, entry.ways.complete)

    def _tell(self, entry: _Waiting) -> None:
        if not entry.is_told:
            if entry.pod is None:
                entry.report = with_trigger(entry.report, self._lookup)
            entry.is_told = True
            self._hand_out(entry, entry.ways.told)

    def _hand_out(self, entry: _Waiting, sinks: Sequence[Sink]) -> None:
        self.untold += hand_out(entry.report, sinks)

    def _wait(self, entry: _Waiting) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._make_room()
        self._waiting[entry.report.id] = entry
        if self._timer is None or self._due_at(entry) < self._due_s:
            self._schedule(self._due_at(entry))

    def _make_room(self) -> None:
        """Hand on the oldest of the pod with the most: one that dies in a loop costs no other its name."""
        counts = Counter(_whose(entry.report) for entry in self._waiting.values())
        most = counts.most_common(1)[0][0]
        oldest = next(key for key, entry in self._waiting.items() if _whose(entry.report) == most)
        self._finish(self._waiting.pop(oldest))

    def _look_again(self) -> None:
        self._retry = None
        for key, entry in list(self._waiting.items()):
            if self._advance(entry):
                del self._waiting[key]
        self._schedule_next()

    def _expire(self) -> None:
        now = self._scheduler.time()
        for key, entry in list(self._waiting.items()):
            if self._tell_at(entry) <= now:
                self._tell(entry)
            if self._complete_at(entry) <= now:
                del self._waiting[key]
                self._finish(entry)
        self._schedule_next()

    def _schedule_next(self) -> None:
        if self._waiting:
            self._schedule(min([self._due_at(entry) for entry in self._waiting.values()]))
        elif self._timer:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, due_s: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._due_s = due_s
        self._timer = self._scheduler.call_later(max(due_s - self._scheduler.time(), 0.0), self._expire)

    def _due_at(self, entry: _Waiting) -> float:
        return self._complete_at(entry) if entry.is_told else self._tell_at(entry)

    def _tell_at(self, entry: _Waiting) -> float:
        return entry.since_s + TELL_AFTER_S

    def _complete_at(self, entry: _Waiting) -> float:
        give_up = entry.since_s + self._give_up_after_s
        synced_for_s = self._synced_for_s()
        if synced_for_s is None:
            return give_up
        known_since = self._scheduler.time() - synced_for_s
        return min(max(entry.since_s, known_since) + COMPLETE_AFTER_S, give_up)


def _whose(report: OomReport) -> str | None:
    return report.workload.pod_uid or report.workload.container_id

"""Pod and container names for reports, as soon as the API server has told them.

A container that has just started may be killed before the kubelet has told anybody its id. Standard output waits
for it a moment, what is sent to the cluster longer, and nobody waits for the kills of others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from oomtracer.events import OomReport, Workload, WorkloadKind
from oomtracer.pipeline.fan_out import hand_out
from oomtracer.pods import Pod, PodIdentity
from oomtracer.sinks import Sink

Lookup = Callable[[Workload], PodIdentity | None]

TELL_AFTER_S = 2.0
COMPLETE_AFTER_S = 30.0
MAX_WAITING = 1000
# A busy node's pods change a hundred times a second.
_RETRY_PAUSE_S = 0.02
# The kubelet's, for the sandbox of every pod and for nothing else of it (pkg/kubelet/qos/policy.go).
_SANDBOX_OOM_SCORE_ADJ = -998


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


@dataclass(slots=True)
class _Waiting:
    """A report of a pod of which something is not known yet."""

    report: OomReport
    since_s: float
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
        self._told = told
        self._named = named
        self._complete = complete
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
        entry = _Waiting(report, self._scheduler.time())
        if report.workload.kind is not WorkloadKind.POD:
            self._finish(entry)
        elif not self._advance(entry):
            self._wait(entry)

    def pods_changed(self) -> None:
        """Look the waiting ones up again, soon."""
        if self._waiting and self._retry is None:
            self._retry = self._scheduler.call_later(_RETRY_PAUSE_S, self._look_again)

    def finish(self) -> None:
        """Hand on all that waits, as far as it is known."""
        for timer in (self._timer, self._retry):
            if timer:
                timer.cancel()
        while self._waiting:
            self._finish(self._waiting.popitem(last=False)[1])

    def _advance(self, entry: _Waiting) -> bool:
        """Hand on as far as names are known; whether that is the end."""
        identity = self._lookup(entry.report.workload)
        if identity is None or identity.pod is entry.pod:
            return False
        is_first, entry.pod = entry.pod is None, identity.pod
        entry.report = with_names(entry.report, identity, self._lookup)
        if is_first:
            self._hand_out(entry, self._named)
        workload = entry.report.workload
        if workload.container is None and workload.container_id is not None:
            return False
        self._finish(entry)
        return True

    def _finish(self, entry: _Waiting) -> None:
        self._tell(entry)
        if entry.pod is None:
            self._hand_out(entry, self._named)
        self._hand_out(entry, self._complete)

    def _tell(self, entry: _Waiting) -> None:
        if not entry.is_told:
            if entry.pod is None:
                entry.report = _with_trigger(entry.report, self._lookup)
            entry.is_told = True
            self._hand_out(entry, self._told)

    def _hand_out(self, entry: _Waiting, sinks: Sequence[Sink]) -> None:
        self.untold += hand_out(entry.report, sinks)

    def _wait(self, entry: _Waiting) -> None:
        while len(self._waiting) >= MAX_WAITING:
            self._finish(self._waiting.popitem(last=False)[1])
        self._waiting[entry.report.id] = entry
        if self._timer is None or self._due_at(entry) < self._due_s:
            self._schedule(self._due_at(entry))

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


def with_names(report: OomReport, identity: PodIdentity, lookup: Lookup) -> OomReport:
    """The report with what the API server knows of the victim's pod, and of the trigger's."""
    return replace(
        _with_trigger(report, lookup),
        workload=named(report.workload, identity, container=_container(report, identity)),
        init_died=None if identity.pod.shares_pid_namespace else report.init_died,
    )


def _with_trigger(report: OomReport, lookup: Lookup) -> OomReport:
    trigger = report.trigger_workload
    identity = lookup(trigger) if trigger and trigger.kind is WorkloadKind.POD else None
    if not trigger or not identity:
        return report
    return replace(report, trigger_workload=named(trigger, identity, container=identity.container))


def named(workload: Workload, identity: PodIdentity, *, container: str | None) -> Workload:
    """The workload with its names."""
    pod = identity.pod
    return replace(
        workload,
        namespace=pod.namespace,
        pod=pod.name,
        container=container,
        static=pod.is_mirror,
        owner=pod.owner,
        resolved=True,
    )


def _container(report: OomReport, identity: PodIdentity) -> str | None:
    """The container's name; of a pod with only one it is known before its id is."""
    containers = identity.pod.containers
    if identity.container is not None or report.workload.container_id is None:
        return identity.container
    is_sandbox = report.victim.oom_score_adj == _SANDBOX_OOM_SCORE_ADJ
    return containers[0] if len(containers) == 1 and not is_sandbox else None

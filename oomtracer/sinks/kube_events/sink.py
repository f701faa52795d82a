"""Takes reports, and tells of them when they are complete and the API server has time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from oomtracer.config import Marking
from oomtracer.deliveries import RememberedEvents, Told
from oomtracer.events import OomReport, Outcome, Scope, Workload, WorkloadKind
from oomtracer.kube.api import Api
from oomtracer.kube.event import Regarding
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.pods import Pod, PodIdentity
from oomtracer.policy import Decision
from oomtracer.sinks.kube_events.compose import incident_event, incident_key, mark_event, mark_key
from oomtracer.sinks.kube_events.gather import Gathering, Incident
from oomtracer.sinks.kube_events.ledger import WAIT_S, Ledger
from oomtracer.sinks.kube_events.outbox import EventOutbox, NoEventOutbox
from oomtracer.sinks.kube_events.past import KILLS, MARK, Past, series_of
from oomtracer.sinks.kube_events.series import Occurrence, Series
from oomtracer.sinks.kube_events.subject import node_subject, pod_subject
from oomtracer.sinks.kube_events.writer import Writer

logger = logging.getLogger("oomtracer.events")

DROP_REASONS: Final = (
    "no_pod_match",  # the pod that the process was of is not known
    "late",  # of an incident that was told already
    "pod_limit",  # too much was told of one pod
    "queue_full",  # too many waited, or for too long
    "unreachable",  # the API server was, for too long
    "expired",  # the kill was an hour ago before there was an agent to tell of it
    "forbidden",  # the account has no right to create or change Events
    "denied",  # by an admission policy, a webhook or a quota
    "invalid",
    "namespace_gone",
    "stopped",  # the agent was, before the API server took it
    "defect",
)
"""Why something is not told, as in ``dropped``."""
FLUSH_S = 2.0
"""For what is due when the agent stops."""
# While marks wait for their turn, Events do not even queue.
_COURTESY_S = 0.2


class EventSink:
    """Makes Kubernetes Events of reports; whatever happens to them, nothing else waits for it.

    Each report is emitted once, named as far as it ever will be, ``age_s`` after its kill. ``outbox`` is told when
    no Event is owed for it any more, and what has to be told still; ``restore`` and ``resume`` take up what an
    earlier process left. ``dropped`` counts incidents by
    ``DROP_REASONS`` (``no_pod_match`` and ``late`` count processes), ``sent`` Events created and ``updated``
    counts brought up to date; ``pending`` is what waits.
    """

    def __init__(  # noqa: PLR0913 - what it asks of others
        self,
        api: Api,
        *,
        node: str,
        marking: Marking,
        lookup: Callable[[Workload], PodIdentity | None],
        decision_of: Callable[[OomReport], Decision | None],
        limiter: WriteLimiter,
        outbox: EventOutbox | None = None,
        age_s: Callable[[OomReport], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node_subject(node)
        self._marking = marking
        self._lookup = lookup
        self._decision_of = decision_of
        self._limiter = limiter
        self._outbox = outbox or NoEventOutbox()
        self._age_s = age_s
        self._clock = clock
        self._past = Past()
        self._gathering = Gathering()
        self._ledger = Ledger(self._outbox)
        self._writer = Writer(api, self._ledger, clock=clock)
        self._woken = asyncio.Event()

    @property
    def sent(self) -> int:
        """Events created."""
        return self._writer.sent

    @property
    def updated(self) -> int:
        """Times that the count of an Event was brought up to date."""
        return self._writer.updated

    @property
    def dropped(self) -> Counter[str]:
        """What nobody will be told of, by ``DROP_REASONS``."""
        return self._ledger.dropped

    @property
    def pending(self) -> int:
        """Incidents that may not be complete, and Events that wait to be written."""
        return len(self._gathering) + self._ledger.pending

    def restore(self, remembered: RememberedEvents) -> None:
        """Take over what an earlier process has told, and what it has not; before any report."""
        now_s = self._clock()
        self._past.restore(remembered.told)
        self._gathering.restore([(told.incident, told.uid) for told in remembered.told if told.what == KILLS])
        series, unknown = series_of(remembered, now_s=now_s)
        for each in unknown:
            self.dropped["defect"] += max(each.count - each.told, 0)
            self._outbox.ended(each.name)
        self._ledger.restore(series, now_s=now_s)

    def resume(self, report: OomReport) -> None:
        """Expect the report of an earlier process, some part of which that may have told."""
        self._past.resume(report)

    def emit(self, report: OomReport) -> None:
        """Take one report."""
        if not self._take(report):
            self._outbox.finished([report.id])
        self._past.forget(report)

    def _take(self, report: OomReport) -> bool:
        """Whether an Event will tell of it."""
        if report.selftest or report.outcome is Outcome.ALREADY_EXITING:
            return False
        late = self.dropped["late"]
        on_pod = report.workload.kind is WorkloadKind.POD and self._gather_pod(report)
        on_node = report.scope is Scope.GLOBAL and self._gather(report, self._node, None)
        if self._past.is_resumed(report) and (on_pod or on_node):
            # The process before has told the other part: it would owe nothing otherwise.
            self.dropped["late"] = late
        return on_pod or on_node

    def marked(self, report: OomReport, pod: Pod) -> None:
        """Tell that the pod was marked for this kill."""
        subject = pod_subject(report.workload, pod)
        if subject is None or not self._past.is_first_mark(report.incident, subject.uid):
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event = mark_event(report, subject, self._marking, time=now)
        occurrence = Occurrence(told=Told(report.incident, subject.uid, MARK), time=now)
        self._ledger.record(mark_key(subject), occurrence, lambda: event, now_s=self._clock())
        self._woken.set()

    async def run(self) -> None:
        """Send what is due, for ever; cancelled, it has 2 s for the rest."""
        try:
            while True:
                await self._step()
        finally:
            await self._flush()

    def _gather_pod(self, report: OomReport) -> bool:
        workload = report.workload
        identity = self._lookup(workload) if workload.resolved else None
        pod = identity.pod if identity else None
        subject = pod_subject(workload, pod) if workload.resolved else None
        if subject is None:
            self.dropped["no_pod_match"] += 1
            return False
        return self._gather(report, subject, pod)

    def _gather(self, report: OomReport, subject: Regarding, pod: Pod | None) -> bool:
        if self._gathering.add(report, subject, pod, now_s=self._clock()):
            self._woken.set()
            return True
        self.dropped["late"] += 1
        return False

    async def _step(self) -> None:
        self._woken.clear()
        now_s = self._clock()
        self._settle(now_s)
        may_write = now_s >= self._writer.ready_s and not self._limiter.waiting
        series = self._ledger.next(now_s) if may_write else None
        if series:
            await self._limiter.acquire()
            await self._write(series)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s(now_s)):
                await self._woken.wait()

    def _pause_s(self, now_s: float) -> float | None:
        complete_s, write_s = self._gathering.next_s(), self._ledger.next_s()
        if write_s is not None:
            courtesy_s = now_s + _COURTESY_S if self._limiter.waiting else 0.0
            write_s = max(write_s, self._writer.ready_s, courtesy_s)
        due_s = min([each for each in (complete_s, write_s) if each is not None], default=None)
        return None if due_s is None else max(due_s - now_s, 0.0)

    def _settle(self, until_s: float) -> None:
        for incident in self._gathering.complete(until_s):
            try:
                self._record(incident)
            except Exception:  # a defect of ours may cost this Event, not the ones behind it
                self.dropped["defect"] += 1
                self._outbox.finished(incident.report_ids)
                logger.exception("could not make an Event of a kill of process %d", incident.head.victim.pid)

    def _record(self, incident: Incident) -> None:
        head = incident.head
        occurrence = Occurrence(
            told=Told(head.incident, incident.subject.uid, KILLS),
            time=head.time,
            ago_s=self._age_s(head),
            report_ids=tuple(incident.report_ids),
        )
        if not occurrence.ago_s < WAIT_S:
            self.dropped["expired"] += 1
            self._outbox.finished(incident.report_ids)
            return
        decision = self._decision_of(head)
        self._ledger.record(
            incident_key(incident, decision),
            occurrence,
            lambda: incident_event(incident, decision, self._marking),
            now_s=self._clock(),
        )

    async def _write(self, series: Series) -> bool:
        try:
            return await self._writer.write(series)
        except Exception:  # as above
            self._ledger.drop(series, "defect")
            logger.exception("could not send an Event")
            return True

    async def _flush(self) -> None:
        self._settle(math.inf)
        self._ledger.hurry()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._write_rest(self._clock() + FLUSH_S)
        finally:
            self._leave_rest()

    async def _write_rest(self, until_s: float) -> None:
        while series := self._ledger.next(self._clock()):
            if self._writer.retry_s < until_s:  # else it is now or never
                await asyncio.sleep(max(self._writer.retry_s - self._clock(), 0.0))
            await self._limiter.acquire()
            if not await self._write(series) and self._writer.retry_s >= until_s:
                return

    def _leave_rest(self) -> None:
        left = self._ledger.pending
        if not self._outbox.keeps:
            self._ledger.drop_all("stopped")
        if left and self._outbox.keeps:
            logger.info("stopping: %d pending Events are kept for the next start", left)
        elif left:
            logger.warning("stopping: %d pending Events were not told", left)

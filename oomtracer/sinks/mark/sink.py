"""Decides on each report and delivers what policy wants marked, each mark in a task of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from oomtracer.config import Marking
from oomtracer.deliveries import RememberedMark
from oomtracer.events import OomReport
from oomtracer.kernel.clock import boot_clock
from oomtracer.kube.directory import PodDirectory
from oomtracer.pods import Pod
from oomtracer.policy import Decision, Policy, Reason
from oomtracer.sinks.mark.counts import WOULD_MARK, Ended, Failure, Late, MarkCounts, Stage
from oomtracer.sinks.mark.delivery import Delivery, Mark
from oomtracer.sinks.mark.outbox import MarkOutbox, NoMarkOutbox
from oomtracer.sinks.mark.past import Past, as_made, decision_from, to_remember, told_as
from oomtracer.sinks.mark.telling import Teller
from oomtracer.sinks.mark.waiting import MarkedPods

logger = logging.getLogger("oomtracer.mark")

MAX_PENDING = 1_000
REMEMBERED = 4_096
"""Decisions, and uids of pods that were marked."""
STOP_S = 2.0
"""What pending marks get at the end."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class MarkSink:
    """Takes reports whose pod has been looked up; ``run`` delivers the marks.

    ``delivery`` is None in a dry run. ``on_marked`` is called after each mark that was made. ``outbox`` is told
    when each report has come to its end here; ``restore`` and ``recall`` take up what an earlier process told it.
    """

    def __init__(  # noqa: PLR0913 - what it asks of others
        self,
        *,
        directory: PodDirectory,
        policy: Policy,
        marking: Marking,
        delivery: Delivery | None,
        outbox: MarkOutbox | None = None,
        clock: Callable[[], float] = boot_clock,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts = MarkCounts()
        self.on_marked: list[Callable[[OomReport, Pod], None]] = []
        self._directory = directory
        self._policy = policy
        self._delivery = delivery
        self._outbox = outbox or NoMarkOutbox()
        self._past = Past(delivery)
        self._kept = 0
        self._clock = clock
        self._unix_clock = unix_clock
        self._teller = Teller(is_dry_run=delivery is None, clock=clock)
        self._waiting = MarkedPods(directory, marking, clock=clock)
        self._decisions: OrderedDict[tuple[str, str | None], Decision] = OrderedDict()
        self._recalled: OrderedDict[tuple[str, str | None], Decision] = OrderedDict()
        self._pending: dict[str, Mark] = {}
        self._marked: OrderedDict[str, None] = OrderedDict()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """Marks decided and still on their way."""
        return len(self._pending)

    def marked_pods(self) -> int:
        """Pods of this node that carry the mark now: marked and not evicted yet."""
        return self._waiting.count()

    def decision_of(self, report: OomReport) -> Decision | None:
        """What was decided for its pod in its incident; None before ``emit``, and long after it."""
        before = self._recalled.get(_key(report))
        return before if before and before.mark else self._decisions.get(_key(report), before)

    def restore(self, marks: Sequence[RememberedMark]) -> None:
        """Take over the marks of earlier processes, the oldest first; before any report."""
        for mark in marks:
            self._policy.remember(as_made(mark, now_s=self._clock()))
            if mark.is_made:
                _remember(self._marked, mark.pod_uid, None)
            else:
                self._past.add(mark)

    def recall(self, report: OomReport, decision: str) -> None:
        """Remember what the outbox was told of a report, which is not emitted here again.

        Another one of the same incident and pod may be: the one whose mark is still to come.
        """
        if known := decision_from(decision):
            _remember(self._recalled, _key(report), known)

    def give_up(self, report: OomReport) -> None:
        """End a report of an earlier boot without a decision: nothing of it holds memory any more."""
        self.counts.count(Stage.SKIPPED, Late.NODE_RESTARTED)
        self._outbox.decided(report.id, Late.NODE_RESTARTED)

    def emit(self, report: OomReport) -> None:
        """Decide on one report, and start the delivery of its mark."""
        decision, is_on_its_way = self._take(report)
        if not is_on_its_way:
            self._outbox.decided(report.id, decision.reason)

    def _take(self, report: OomReport) -> tuple[Decision, bool]:
        """The decision, and whether a mark was started whose end is that of this report."""
        before = self._decisions.get(_key(report))
        if before is not None and before.mark:
            return before, False
        workload = report.workload
        identity = self._directory.find(workload.pod_uid, workload.container_id)
        pod = identity.pod if identity else None
        decision = self._decide(report, pod)
        _remember(self._decisions, _key(report), decision)
        if decision == before:
            return decision, False
        self._teller.decided(report, pod, decision)
        if not decision.mark or pod is None:
            self.counts.count(Stage.SKIPPED, decision.reason)
        elif self._delivery is None:
            self.counts.count(Stage.DRY_RUN, WOULD_MARK)
        else:
            self._start(self._delivery, self._mark(report, pod, decision))
            return decision, True
        return decision, False

    def _decide(self, report: OomReport, pod: Pod | None) -> Decision:
        if made := self._past.made(report, pod):
            return made
        now_s = self._clock()
        decision = self._policy.decide(
            report,
            pod,
            now_s=self._unix_clock(),
            monotonic_s=now_s,
            age_s=now_s - report.boot_time_ns / 1e9,
            is_spent=self._past.is_sent(report, pod),
        )
        if decision.mark and pod is not None and (pod.uid in self._pending or pod.uid in self._marked):
            # Policy's memory is bounded too.
            self._policy.give_back(report.incident)
            return Decision(mark=False, reason=Reason.POD_DECIDED)
        return decision

    def _mark(self, report: OomReport, pod: Pod, decision: Decision) -> Mark:
        killed_s = report.boot_time_ns / 1e9
        killed_unix_s = self._unix_clock() - max(self._clock() - killed_s, 0.0)
        return Mark(
            report=report,
            pod=pod,
            killed_s=killed_s,
            killed_unix_s=killed_unix_s,
            decision=decision,
            decided_s=self._clock(),
            is_sent=self._past.is_sent(report, pod),
        )

    def _start(self, delivery: Delivery, mark: Mark) -> None:
        if len(self._pending) >= MAX_PENDING:
            self._end(mark, Ended(Stage.ERROR, Failure.OVERFLOW))
            return
        self._pending[mark.pod.uid] = mark
        if self._group is not None:
            self._launch(self._group, delivery, mark)

    def _launch(self, group: asyncio.TaskGroup, delivery: Delivery, mark: Mark) -> None:
        task = group.create_task(self._deliver(delivery, mark), name=f"mark {mark.pod.uid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Deliver marks until cancelled; then those pending get one more try, within two seconds."""
        async with asyncio.TaskGroup() as group:
            if self._delivery is not None:
                self._group = group
                group.create_task(self._waiting.run(), name="marked pods")
                for mark in self._pending.values():
                    self._launch(group, self._delivery, mark)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await self._finish()

    async def _deliver(self, delivery: Delivery, mark: Mark) -> None:
        try:
            ended = await delivery.deliver(
                mark,
                on_retry=partial(self._teller.retried, mark.pod),
                on_first=partial(self._about_to_send, mark),
            )
        except Exception:  # a defect of ours may cost this mark, not the other ones
            logger.exception("a mark was lost")
            ended = Ended(Stage.ERROR, Failure.INTERNAL, in_doubt=True)
        self._end(mark, ended)

    async def _about_to_send(self, mark: Mark) -> None:
        if not mark.is_sent:
            await self._outbox.sending(to_remember(mark, now_s=self._clock()))

    def _end(self, mark: Mark, ended: Ended) -> None:
        self._pending.pop(mark.pod.uid, None)
        if ended.reason == Failure.NOT_DELIVERED and self._outbox.keeps:
            self._kept += 1
            return
        self.counts.count(ended.stage, ended.reason)
        latency_s = self._clock() - mark.killed_s
        self._teller.ended(mark.pod, ended, latency_s=latency_s)
        if ended.stage is Stage.MARKED:
            _remember(self._marked, mark.pod.uid, None)
            self.counts.observe(latency_s)
            self._announce(mark)
        elif not ended.in_doubt:
            self._policy.give_back(mark.report.incident)
        self._tell_outbox(mark, ended)
        if not self._pending:
            self._teller.nothing_pends()

    def _tell_outbox(self, mark: Mark, ended: Ended) -> None:
        # After whoever tells of the mark: from here on it is not told of by another process.
        self._outbox.ended(
            mark.report.id,
            mark.report.incident,
            told_as(mark.decision, ended.reason),
            made=ended.stage is Stage.MARKED,
            in_doubt=ended.in_doubt,
        )

    def _announce(self, mark: Mark) -> None:
        for tell in self.on_marked:
            try:
                tell(mark.report, mark.pod)
            except Exception:  # as above: the mark is made all the same
                logger.exception("could not tell of a mark")

    async def _finish(self) -> None:
        before = self.counts.marked[Stage.ERROR, Failure.NOT_DELIVERED]
        if self._delivery is not None:
            self._delivery.stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
        self._group = None
        for mark in list(self._pending.values()):
            self._end(mark, Ended(Stage.ERROR, Failure.NOT_DELIVERED, in_doubt=True))
        lost = self.counts.marked[Stage.ERROR, Failure.NOT_DELIVERED] - before
        if self._kept:
            logger.info("stopping: %d pending marks are kept for the next start", self._kept)
        if lost:
            logger.error("stopping: %d pending marks were not delivered", lost)


def _key(report: OomReport) -> tuple[str, str | None]:
    return report.incident, report.workload.pod_uid


def _remember(memory: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    memory[key] = value
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)

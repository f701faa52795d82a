"""One mark's way to the API server.

It waits its turn, looks at the pod again before each try, and does not give up while the kill is young enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from oomtracer.config import Marking
from oomtracer.events import OomReport
from oomtracer.kube.api import Api
from oomtracer.kube.backoff import Backoff
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.fence import Fence
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.kube.patch import PatchOutcome, PatchResult, patch_pod
from oomtracer.pods import Pod
from oomtracer.policy import Decision
from oomtracer.policy.candidates import Candidate, exclusion
from oomtracer.sinks.mark.counts import Ended, Failure, Late, Stage, applied_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark that policy wants."""

    report: OomReport
    pod: Pod
    """As it was when that was decided."""
    killed_s: float
    """When, on the clock of the delivery."""
    killed_unix_s: float
    decision: Decision
    decided_s: float
    """On the same clock."""
    is_sent: bool = False
    """By an earlier process: it may have been made."""


class Delivery:
    """What all marks share on their way: connection, rate, fence, and the end of the program.

    ``on_retry`` is told of each try that has to be repeated, ``clock`` counts seconds and is never set. Once
    ``stopping`` is set, each mark has one more try.
    """

    def __init__(
        self,
        *,
        api: Api,
        directory: PodDirectory,
        marking: Marking,
        limiter: WriteLimiter,
        fence: Fence,
        clock: Callable[[], float],
    ) -> None:
        self.stopping = asyncio.Event()
        self._api = api
        self._directory = directory
        self._marking = marking
        self._limiter = limiter
        self._retry = asyncio.Lock()
        self._fence = fence
        self._clock = clock

    async def deliver(
        self, mark: Mark, *, on_retry: Callable[[str], None], on_first: Callable[[], Awaitable[None]]
    ) -> Ended:
        """Make the mark, or find out why it cannot or need not be made any more.

        ``on_first`` is awaited before the first try.
        """
        backoff = Backoff()
        in_doubt, message, turn = mark.is_sent, "", self._limiter.acquire
        is_first = True
        while True:
            is_last = self.stopping.is_set()
            await self._fenced(mark)
            if not self._is_held:
                await turn()
            ended = self._look_again(mark, in_doubt=in_doubt)
            if ended is not None:
                return replace(ended, message=message)
            if self._is_held:  # since a moment ago
                continue
            if is_first:
                await on_first()
                is_first = False
            result = await self._patch(mark.pod)
            if result.outcome is not PatchOutcome.RETRY:
                return self._final(result, in_doubt=in_doubt)
            in_doubt, message = in_doubt or result.in_doubt, result.message
            if is_last:
                return Ended(Stage.ERROR, Failure.NOT_DELIVERED, result.message, in_doubt)
            turn = self._acquire_again
            on_retry(result.message)
            await self._pause(mark, backoff.next_s(result.retry_after_s))

    async def _fenced(self, mark: Mark) -> None:
        """Wait for the fence, where it is required."""
        while self._is_held and self._left_s(mark) and not self.stopping.is_set():
            await _first(self.stopping, self._fence.enforced, timeout_s=self._left_s(mark))

    async def _acquire_again(self) -> None:
        """Of all retries one at a time stands in the queue: a first try never waits for more than that one."""
        async with self._retry:
            await self._limiter.acquire()

    async def _pause(self, mark: Mark, seconds: float) -> None:
        await _first(self.stopping, timeout_s=min(seconds, self._left_s(mark)))

    @property
    def _is_held(self) -> bool:
        return self._marking.require_admission_policy and not self._fence.is_enforced

    def _left_s(self, mark: Mark) -> float:
        return max(mark.killed_s + self._marking.max_age_s - self._clock(), 0.0)

    def _look_again(self, mark: Mark, *, in_doubt: bool) -> Ended | None:
        """Why no (further) try is needed or allowed; minutes may have passed since the decision."""
        pod = self._directory.pod(mark.pod.uid)
        if pod is None or self._directory.is_gone(pod.uid):
            return Ended(Stage.SKIPPED, Late.POD_GONE, in_doubt=in_doubt)
        if in_doubt and self.carries_ours(pod):
            # The answer was lost, not the patch.
            return self._made()
        reason = exclusion(
            Candidate(pod=pod, report=mark.report, marking=self._marking, killed_s=mark.killed_unix_s)
        )
        if reason is not None:
            return Ended(Stage.SKIPPED, reason, in_doubt=in_doubt)
        if not self._left_s(mark):
            failure = Failure.ADMISSION_POLICY_MISSING if self._is_held else Failure.EXPIRED
            return Ended(Stage.ERROR, failure, in_doubt=in_doubt)
        if self._is_held and self.stopping.is_set():
            return Ended(Stage.ERROR, Failure.NOT_DELIVERED, in_doubt=in_doubt)
        return None

    def carries_ours(self, pod: Pod) -> bool:
        """Whether the pod carries all that a mark consists of."""
        annotation, label = self._marking.annotation, self._marking.label
        return (annotation is None or pod.annotations.get(annotation.key) == annotation.value) and (
            label is None or pod.labels.get(label.key) == label.value
        )

    async def _patch(self, pod: Pod) -> PatchResult:
        annotation, label = self._marking.annotation, self._marking.label
        return await patch_pod(
            self._api,
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            annotations={annotation.key: annotation.value} if annotation else {},
            labels={label.key: label.value} if label else {},
        )

    def _made(self) -> Ended:
        return Ended(Stage.MARKED, applied_reason(self._marking))

    def _final(self, result: PatchResult, *, in_doubt: bool) -> Ended:
        match result.outcome:
            case PatchOutcome.APPLIED:
                return self._made()
            case PatchOutcome.GONE:
                return Ended(Stage.SKIPPED, Late.POD_GONE, in_doubt=in_doubt)
            case PatchOutcome.REPLACED:
                return Ended(Stage.SKIPPED, Late.POD_REPLACED, in_doubt=in_doubt)
            case outcome:
                return Ended(Stage.ERROR, Failure(outcome.value), result.message, in_doubt)


async def _first(*events: asyncio.Event, timeout_s: float) -> None:
    """Wait until one of the events is set, or the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()

"""Keeps the directory of this node's pods current: one list, then a watch for as long as the process lives.

The rules are those of a real kube-apiserver: a version that is too old is a 200 with one ERROR line, a clean end
means nothing, a server that hangs is silent, and one that was restored from a backup hides changes.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from oomtracer.kube.api import Api
from oomtracer.kube.audit import make_up
from oomtracer.kube.backoff import Backoff
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.own_pod import OwnPod
from oomtracer.kube.pace import Pace
from oomtracer.kube.pod_requests import PodRequests
from oomtracer.kube.records import EventType, PodList, PodReader, WatchEvent
from oomtracer.kube.trouble import Contact, Trouble, TroubleError, stream_error
from oomtracer.kube.watch_times import WatchTimes

logger = logging.getLogger("oomtracer.kube")

_SHORTEST_WATCH_S: Final = 30.0
# So often refused in a row, a list no longer insists on what is at least as new as what was seen.
_PATIENCE: Final = 3
_REFUSALS: Final = frozenset({Trouble.VERSION_AHEAD, Trouble.SERVER_ERROR, Trouble.REFUSED})


class PodWatcher:
    """Follows the pods of one node into a directory, through every trouble.

    For metrics: ``requests`` by verb and ``errors`` by Trouble, ``events`` of the watch, ``missed`` changes that
    the watch should have told and a list did, ``restores`` of the server to older versions, ``silences`` of
    watches (no error: clusters sleep), ``last_sync_s`` as Unix time of the last list, event or bookmark (0.0: none
    yet).
    """

    def __init__(  # noqa: PLR0913 - the last four are given by tests alone
        self,
        api: Api,
        directory: PodDirectory,
        reader: PodReader,
        *,
        node_name: str,
        own_pod: tuple[str, str] | None = None,
        start_jitter_s: float = 10.0,
        times: WatchTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.errors = dict.fromkeys(Trouble, 0)
        self.events = 0
        self.missed = 0
        self.restores = 0
        self.silences = 0
        self.last_sync_s = 0.0
        self._times = times = times or WatchTimes()
        pace = Pace(a_minute=times.requests_a_minute, clock=clock, sleep=sleep)
        self._requests = PodRequests(api, reader, pace, node_name=node_name)
        self.requests = self._requests.made
        self._directory = directory
        self._own_pod = OwnPod(own_pod, node_name)
        self._start_jitter_s = start_jitter_s
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._backoff = Backoff(random=random)
        self._contact = Contact(clock)
        self._current_since_s: float | None = None
        self._version = 0  # the newest seen
        self._needs_list = True
        self._refused_lists = 0
        self._listed_s = 0.0
        self._audit_due_s = 0.0
        self._audit: PodList | None = None
        self._opened_s: float | None = None
        self._heard_s = 0.0

    def current_for_s(self) -> float | None:
        """How long the directory has been current without a gap; None while it is not."""
        return None if self._current_since_s is None else self._clock() - self._current_since_s

    async def run(self) -> None:
        """Follow the pods until cancelled."""
        await self._sleep(self._start_jitter_s * self._random())
        while True:
            try:
                await self._cycle()
            except TroubleError as error:
                await self._sleep(self._pause_s(error))

    async def _cycle(self) -> None:
        """One watch to its clean end, after the list that it needs.

        Raises TroubleError.
        """
        self._opened_s = None
        try:
            if self._needs_list:
                await self._relist()
            elif self._clock() >= self._audit_due_s:
                await self._begin_audit()
            self._check_progress()
            await self._watch()
        except TroubleError:
            raise
        except Exception as error:  # a defect may cost this watch, not the next
            if not self.errors[Trouble.INTERNAL]:
                logger.exception("the watch of the pods failed")
            raise TroubleError(Trouble.INTERNAL, type(error).__name__, relist=True) from error

    def _pause_s(self, error: TroubleError) -> float:
        lasted = self._lasted()
        if lasted:
            self._backoff.reset()
        self.errors[error.kind] += 1
        self._needs_list |= error.relist
        self._current_since_s = None
        self._contact.lose(error, was_answered=self._opened_s is not None, had_lasted=lasted)
        return self._backoff.next_s(error.pause_s)

    async def _watch(self) -> None:
        try:
            await self._requests.watch_pods(
                self._version,
                timeout_s=self._watch_s(),
                silence_s=self._times.silence_s,
                answered=self._answered,
                take=self._take,
            )
        except TroubleError as error:
            if error.kind is not Trouble.UNREACHABLE or not self._is_silent():
                raise
            self.silences += 1
            self._audit_due_s = min(self._audit_due_s, self._listed_s + self._times.early_audit_s)
        if not self._lasted():
            raise TroubleError(Trouble.ENDED_EARLY, "the watch ends as soon as it begins")
        self._backoff.reset()
        self._contact.regain()

    def _watch_s(self) -> float:
        shortest_s, longest_s = self._times.watch_s
        # It ends when a list is due: no list beside a watch, and no watch to be cut off.
        until_audit_s = max(self._audit_due_s - self._clock(), _SHORTEST_WATCH_S)
        return min(shortest_s + (longest_s - shortest_s) * self._random(), until_audit_s)

    def _answered(self) -> None:
        self._opened_s = self._heard_s = self._clock()
        if self._current_since_s is None:
            self._current_since_s = self._opened_s
            self._directory.touch()
        self._contact.hear(has_lasted=False)

    def _lasted(self) -> bool:
        return self._opened_s is not None and self._clock() - self._opened_s >= self._times.steady_s

    def _is_silent(self) -> bool:
        # Timers are not that exact.
        return self._opened_s is not None and self._clock() - self._heard_s > 0.99 * self._times.silence_s

    def _take(self, event: WatchEvent) -> None:
        self._heard_s = self._clock()
        if event.status is not None:
            raise stream_error(event.status)
        self._apply(event)
        self._version = event.resource_version
        self.last_sync_s = time.time()
        self._contact.hear(has_lasted=self._lasted())
        self._settle_audit()

    def _apply(self, event: WatchEvent) -> None:
        if event.pod is None:
            return
        self.events += 1
        if event.type is EventType.DELETED:
            self._directory.remove(event.pod.uid, last_state=event.pod)
        else:
            self._directory.put(event.pod)

    async def _relist(self) -> None:
        version = self._version if self._refused_lists < _PATIENCE else 0
        try:
            listed = await self._requests.list_pods(version, timeout_s=self._times.list_s)
        except TroubleError as error:
            self._refused_lists += error.kind in _REFUSALS
            if error.kind is Trouble.EXPIRED:
                self._refused_lists = _PATIENCE
            raise
        self._adopt(listed)

    def _adopt(self, listed: PodList) -> None:
        is_first = not self._directory.is_synced
        differences = len(self._directory.replace(listed.pods))
        if is_first:
            logger.info("following the pods of this node, now %d", len(self._directory))
            self._own_pod.look_for(listed)
        elif listed.resource_version < self._version:
            self.restores += 1
            self._note_missed(differences, "the API server is back at an older version (a restored backup?)")
        self._version = listed.resource_version
        self._needs_list = False
        self._refused_lists = 0
        self._audit = None
        self._note_list(listed)

    async def _begin_audit(self) -> None:
        try:
            listed = await self._requests.list_pods(self._version, timeout_s=self._times.list_s)
        except TroubleError as error:
            if error.kind is Trouble.VERSION_AHEAD:
                raise
            # The watch is more important.
            self.errors[error.kind] += 1
            self._audit_due_s = self._clock() + self._times.early_audit_s
        else:
            self._audit = listed
            self._note_list(listed)
            self._settle_audit()

    def _note_list(self, listed: PodList) -> None:
        self._listed_s = self._clock()
        self._audit_due_s = self._listed_s + self._times.audit_s * (0.8 + 0.4 * self._random())
        self.last_sync_s = time.time()
        if listed.skipped:
            logger.warning("the list of pods has %d items that are no pods", listed.skipped)

    def _settle_audit(self) -> None:
        """Compare with the audit's list once the watch has come so far."""
        if self._audit is None or self._version < self._audit.resource_version:
            return
        changes = make_up(self._audit, self._directory)
        self._audit = None
        self._note_missed(changes, "the watch of the pods is not complete")

    def _check_progress(self) -> None:
        if self._audit is not None and self._clock() - self._listed_s > self._times.catch_up_s:
            raise TroubleError(Trouble.BEHIND, "the watch does not come up to the list", relist=True)

    def _note_missed(self, changes: int, why: str) -> None:
        self.missed += changes
        if changes:
            logger.warning("%s: %d changes became known by a list", why, changes)

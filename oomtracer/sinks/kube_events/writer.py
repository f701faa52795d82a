"""Writes Events one by one, slowly, and knows when to leave the API server alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from oomtracer.kube.api import Api
from oomtracer.kube.backoff import Backoff
from oomtracer.kube.event import EventOutcome, EventResult, Occurrences, create_event, update_event
from oomtracer.sinks.kube_events.ledger import Ledger
from oomtracer.sinks.kube_events.series import Series

logger = logging.getLogger("oomtracer.events")

INTERVAL_S = 1.0
"""Between two writes of this node."""
FORBIDDEN_S = 600.0
"""So long nothing is tried that the account has no right to: the right may be given later."""
MAX_BACKOFF_S = 30.0
_MAX_REFUSED = 1024
_RULE = "the account's role needs apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]"


class _Right(NamedTuple):
    namespace: str
    verb: str


class Writer:
    """Writes what is due in the ledger. ``sent`` counts Events created, ``updated`` counts brought up to date.

    ``ready_s`` is when the next write may be tried. ``retry_s`` is the same after a failure, and 0 without one.
    """

    def __init__(
        self, api: Api, ledger: Ledger, *, clock: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        self.sent = 0
        self.updated = 0
        self.ready_s = 0.0
        self.retry_s = 0.0
        self._api = api
        self._ledger = ledger
        self._clock = clock
        self._backoff = backoff or Backoff(cap_s=MAX_BACKOFF_S)
        self._refused_until_s: dict[_Right, float] = {}
        self._said: set[str] = set()

    async def write(self, series: Series) -> bool:
        """Create or update one Event; False if the API server could not take it now."""
        if self._clock() < self._refused_until_s.get(_right(series), 0.0):
            self._ledger.drop(series, "forbidden")
            return True
        occurrences = series.occurrences  # more may be counted while this is under way
        send = update_event if series.told else create_event
        result = await send(self._api, series.event, occurrences)
        self.ready_s = self._clock() + INTERVAL_S
        if result.outcome is EventOutcome.RETRY:
            self._wait(series, result)
            return False
        self.retry_s = 0.0
        self._backoff.reset()
        self._ledger.answered()
        self._conclude(series, occurrences, result)
        return True

    def _wait(self, series: Series, result: EventResult) -> None:
        now_s = self._clock()
        self.ready_s = self.retry_s = now_s + max(INTERVAL_S, self._backoff.next_s(result.retry_after_s))
        self._ledger.failed(series, now_s=now_s)
        if "waiting" not in self._said:
            self._said.add("waiting")
            logger.warning("Events wait for the API server: %s", result.message)

    def _conclude(self, series: Series, occurrences: Occurrences, result: EventResult) -> None:
        match result.outcome:
            case EventOutcome.DONE:
                self._done(series, occurrences.count)
            case EventOutcome.EXISTS:
                # Which count it has is not known. It is told again, if there is one.
                self._done(series, 1)
            case EventOutcome.GONE:
                self._ledger.gone(series)
            case EventOutcome.NAMESPACE_GONE:
                self._ledger.drop(series, "namespace_gone")
            case EventOutcome.FORBIDDEN:
                self._refuse(_right(series), result.message)
                self._ledger.drop(series, "forbidden")
            case refused:
                self._say_refused(refused, result.message)
                self._ledger.drop(series, refused.value)

    def _done(self, series: Series, counted: int) -> None:
        was_refused = self._refused_until_s.pop(_right(series), None) is not None
        if was_refused or "waiting" in self._said:
            self._said.discard("waiting")
            logger.info("the API server takes Events again")
        if series.told:
            self.updated += 1
        else:
            self.sent += 1
        self._ledger.told(series, counted, now_s=self._clock())

    def _refuse(self, right: _Right, message: str) -> None:
        if not any(right.verb == other.verb for other in self._refused_until_s):
            logger.error("Events cannot be told: %s; %s", message, _RULE)
        if len(self._refused_until_s) >= _MAX_REFUSED:
            self._refused_until_s.clear()
        self._refused_until_s[right] = self._clock() + FORBIDDEN_S

    def _say_refused(self, outcome: EventOutcome, message: str) -> None:
        if outcome.value not in self._said:
            self._said.add(outcome.value)
            logger.error("an Event was refused as %s, others may be too: %s", outcome.value, message)


def _right(series: Series) -> _Right:
    return _Right(series.event.namespace, "patch" if series.told else "create")

"""What can go wrong between the API server and the pods of this node, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from oomtracer.kube.status import Status

logger = logging.getLogger("oomtracer.kube")

RULE: Final = '{apiGroups: [""], resources: [pods], verbs: [list, watch]}'
"""What the agent's ClusterRole must have for the directory."""


class Trouble(StrEnum):
    """Why a list or a watch failed; values of a metric's label."""

    UNREACHABLE = "unreachable"
    """No answer, or half of one."""
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    EXPIRED = "expired"
    """410, as a status or as a watch's ERROR."""
    VERSION_AHEAD = "version_ahead"
    """The server's versions are behind those it gave us: it lags, or etcd was restored from a backup."""
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    REFUSED = "refused"
    """Any other status."""
    MALFORMED = "malformed"
    LINE_TOO_LONG = "line_too_long"
    WATCH_ERROR = "watch_error"
    """A watch's ERROR of another kind."""
    ENDED_EARLY = "ended_early"
    BEHIND = "behind"
    """The watch did not come up to a list within minutes."""
    INTERNAL = "internal"


_PAUSE_S: Final = {Trouble.FORBIDDEN: 10.0}
"""At least, before the next try. Rights are given by people: nobody gains from asking faster."""

_BY_STATUS: Final = {
    401: Trouble.UNAUTHORIZED,
    403: Trouble.FORBIDDEN,
    410: Trouble.EXPIRED,
    429: Trouble.THROTTLED,
}
_AHEAD: Final = "ResourceVersionTooLarge"


class TroubleError(Exception):
    """A list or watch failed. ``relist``: what was known before is no place to go on from."""

    def __init__(
        self, kind: Trouble, message: str, *, retry_after_s: float | None = None, relist: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.relist = relist

    @property
    def pause_s(self) -> float:
        """At least so long before the next try."""
        return max(_PAUSE_S.get(self.kind, 0.0), self.retry_after_s or 0.0)


def refusal(status: Status, verb: str) -> TroubleError:
    """The error for an answer other than 200 to a request of this verb, ``list`` or ``watch``."""
    kind = _kind_of(status)
    said = f"HTTP {status.code}{': ' if status.message else ''}{status.message}"
    message = f"{verb} of pods: {said}"
    if kind is Trouble.FORBIDDEN:
        message = f"{verb} of pods is forbidden: give the agent's ClusterRole the rule {RULE} ({said})"
    relist = kind in {Trouble.EXPIRED, Trouble.REFUSED, Trouble.VERSION_AHEAD}
    return TroubleError(kind, message, retry_after_s=status.retry_after_s, relist=relist)


def stream_error(status: Status) -> TroubleError:
    """The error for an ERROR line of a watch, whose code counts as its status."""
    kind = Trouble.EXPIRED if status.code == 410 else Trouble.WATCH_ERROR
    message = f"the watch ends with error {status.code}: {status.message}"
    return TroubleError(kind, message, retry_after_s=status.retry_after_s, relist=True)


def _kind_of(status: Status) -> Trouble:
    if any(cause.reason == _AHEAD for cause in status.causes):
        return Trouble.VERSION_AHEAD
    if status.code >= 500:
        return Trouble.SERVER_ERROR
    return _BY_STATUS.get(status.code, Trouble.REFUSED)


class Contact:
    """Whether the pods can be watched, said once for each kind of trouble and once when it is over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lost_s: float | None = None
        self._told: set[Trouble] = set()
        self._came_late = False

    def lose(self, error: TroubleError, *, was_answered: bool, had_lasted: bool) -> None:
        """Note a trouble. The end of a watch that had gone well for some time is told only if more follows."""
        if self._lost_s is None:
            self._lost_s = self._clock()
        if had_lasted:
            logger.debug("the watch of the pods ended: %s", error)
            return
        self._came_late |= was_answered
        if error.kind not in self._told:
            self._told.add(error.kind)
            logger.warning("cannot follow the pods of this node, trying again: %s", error)

    def hear(self, *, has_lasted: bool) -> None:
        """Note that a watch was answered, or tells something.

        That is the end of the trouble, unless it came after such an answer: then only time can tell.
        """
        if has_lasted or not self._came_late:
            self.regain()

    def regain(self) -> None:
        """Note that a watch works."""
        if self._told and self._lost_s is not None:
            logger.info("following the pods of this node again, after %.0f s", self._clock() - self._lost_s)
        self._told.clear()
        self._lost_s = None
        self._came_late = False

"""What the log says of decisions and marks: what does not change is not repeated."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from oomtracer.events import OomReport
from oomtracer.pods import Pod
from oomtracer.policy import Decision, Reason
from oomtracer.printable import printable
from oomtracer.sinks.mark.counts import Ended, Failure, Stage

logger = logging.getLogger("oomtracer.mark")

SAY_AGAIN_S = 600.0
"""A refusal that stays the same is told so often: a pod may lose a process every second."""
MAX_REFUSALS = 1_024
# Every kill of a machine that runs more than pods has one of these.
_NOT_WORTH_A_LINE = frozenset({Reason.NOT_IN_POD, Reason.SELFTEST})
_ONCE = {
    Failure.FORBIDDEN: 'this agent may not mark pods: grant it the verb "patch" on pods (%s)',
    Failure.DENIED: "the admission policy or a webhook refuses the marks (%s)",
    Failure.OVERFLOW: "too many marks are pending: further ones are dropped (%s)",
}


class Teller:
    """Remembers what has been said: trouble is told again after a success, retries after the last of them.

    ``clock`` counts seconds.
    """

    def __init__(self, *, is_dry_run: bool, clock: Callable[[], float]) -> None:
        self._is_dry_run = is_dry_run
        self._clock = clock
        self._refused_s: OrderedDict[tuple[str, Reason], float] = OrderedDict()
        self._said: set[str] = set()
        self._is_retry_said = False

    def decided(self, report: OomReport, pod: Pod | None, decision: Decision) -> None:
        """Tell one decision; a refusal that the pod had for the same reason in the last ten minutes is no news."""
        verb = ("would mark" if self._is_dry_run else "marking") if decision.mark else "not marking"
        is_news = decision.mark or self._is_new_refusal(_uid(report, pod), decision.reason)
        level = logging.INFO if is_news else logging.DEBUG
        logger.log(level, "%s %s: %s", verb, _victim(report, pod), decision.reason)

    def retried(self, pod: Pod, message: str) -> None:
        """Tell, once, that marks have to be tried again."""
        if not self._is_retry_said:
            self._is_retry_said = True
            logger.warning("marks do not get through, %s is retried: %s", _name(pod), message)

    def nothing_pends(self) -> None:
        """Take note that no mark is on its way any more."""
        self._is_retry_said = False

    def ended(self, pod: Pod, ended: Ended, *, latency_s: float) -> None:
        """Tell what came of a mark."""
        match ended.stage, ended.reason:
            case Stage.MARKED, _:
                self._said.clear()
                logger.info("marked %s, %.3f s after the kill", _name(pod), latency_s)
            case Stage.ERROR, (Failure.FORBIDDEN | Failure.DENIED | Failure.OVERFLOW) as failure:
                if self._is_new(failure):
                    logger.error(_ONCE[Failure(failure)], ended.message or _name(pod))
            case Stage.ERROR, Failure.NOT_DELIVERED:
                pass  # told all together, at the end
            case Stage.ERROR, reason:
                logger.warning("%s was not marked: %s%s", _name(pod), reason, _behind(ended.message))
            case _, reason:
                logger.info("not marking %s any more: %s", _name(pod), reason)

    def _is_new_refusal(self, uid: str, reason: Reason) -> bool:
        if reason in _NOT_WORTH_A_LINE:
            return False
        now_s, told_s = self._clock(), self._refused_s.get((uid, reason))
        if told_s is not None and now_s - told_s < SAY_AGAIN_S:
            return False
        self._refused_s[uid, reason] = now_s
        self._refused_s.move_to_end((uid, reason))
        if len(self._refused_s) > MAX_REFUSALS:
            self._refused_s.popitem(last=False)
        return True

    def _is_new(self, what: str) -> bool:
        if what in self._said:
            return False
        self._said.add(what)
        return True


def _victim(report: OomReport, pod: Pod | None) -> str:
    if pod is not None:
        return _name(pod)
    uid = report.workload.pod_uid
    return printable(f"pod with uid {uid}") if uid else f"process {report.victim.pid}"


def _uid(report: OomReport, pod: Pod | None) -> str:
    return pod.uid if pod else report.workload.pod_uid or report.workload.container_id or ""


def _name(pod: Pod) -> str:
    return printable(f"pod {pod.namespace}/{pod.name}")


def _behind(message: str) -> str:
    return f" ({message})" if message else ""

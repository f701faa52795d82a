"""What the log says of decisions and marks: each decision once, a state that goes on once."""

from __future__ import annotations

import logging

from oomtracer.events import OomReport
from oomtracer.pods import Pod
from oomtracer.policy import Decision, Reason
from oomtracer.printable import printable
from oomtracer.sinks.mark.counts import Ended, Failure, Stage

logger = logging.getLogger("oomtracer.mark")

# Every kill of a machine that runs more than pods has one of these.
_NOT_WORTH_A_LINE = frozenset({Reason.NOT_IN_POD, Reason.SELFTEST})
_ONCE = {
    Failure.FORBIDDEN: 'this agent may not mark pods: grant it the verb "patch" on pods (%s)',
    Failure.DENIED: "the admission policy or a webhook refuses the marks (%s)",
    Failure.OVERFLOW: "too many marks are pending: further ones are dropped (%s)",
}


class Teller:
    """Remembers what has been said: trouble is told again after a success, retries after the last of them."""

    def __init__(self, *, is_dry_run: bool) -> None:
        self._is_dry_run = is_dry_run
        self._said: set[str] = set()
        self._is_retry_said = False

    def decided(self, report: OomReport, pod: Pod | None, decision: Decision) -> None:
        """Tell one decision."""
        verb = ("would mark" if self._is_dry_run else "marking") if decision.mark else "not marking"
        level = logging.DEBUG if decision.reason in _NOT_WORTH_A_LINE else logging.INFO
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


def _name(pod: Pod) -> str:
    return printable(f"pod {pod.namespace}/{pod.name}")


def _behind(message: str) -> str:
    return f" ({message})" if message else ""

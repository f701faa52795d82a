"""Pods that carry the mark and have not been moved: somebody else's turn, but worth a word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from oomtracer.config import KeyValue, Marking
from oomtracer.kube.directory import PodDirectory
from oomtracer.pods import Pod
from oomtracer.printable import printable

logger = logging.getLogger("oomtracer.mark")

LOOK_EVERY_S = 60.0
TOO_LONG_S = 30 * 60.0


class MarkedPods:
    """Knows since when each marked pod of this node has been seen so, and says once that it takes too long."""

    def __init__(self, directory: PodDirectory, marking: Marking, *, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._annotation = marking.annotation
        self._label = marking.label
        self._clock = clock
        self._since_s: dict[str, float] = {}
        self._told: set[str] = set()

    def count(self) -> int:
        """Pods of this node that carry the mark now."""
        return len(self._marked())

    async def run(self) -> None:
        """Look every minute, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Note which pods are marked, and tell of those that have been for too long."""
        marked = self._marked()
        now_s = self._clock()
        self._since_s = {uid: self._since_s.get(uid, now_s) for uid in marked}
        self._told &= marked.keys()
        for uid, pod in marked.items():
            if now_s - self._since_s[uid] >= TOO_LONG_S and uid not in self._told:
                self._told.add(uid)
                logger.warning(
                    "pod %s has been marked for %d minutes and is not evicted: look at the descheduler's policy"
                    " and at PodDisruptionBudgets",
                    printable(f"{pod.namespace}/{pod.name}"),
                    TOO_LONG_S / 60,
                )

    def _marked(self) -> dict[str, Pod]:
        return {pod.uid: pod for pod in self._directory.pods() if self._is_marked(pod)}

    def _is_marked(self, pod: Pod) -> bool:
        if pod.is_terminating:
            return False
        return _carries(pod.annotations, self._annotation) or _carries(pod.labels, self._label)


def _carries(values: Mapping[str, str], mark: KeyValue | None) -> bool:
    return mark is not None and values.get(mark.key) == mark.value

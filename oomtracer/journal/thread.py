"""The one thread that touches the database: fsync blocks, and so may a disk, for as long as it likes."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from oomtracer.journal.operation import Operation
from oomtracer.journal.retention import Retention
from oomtracer.journal.writer import Writer

logger = logging.getLogger("oomtracer.journal")

MOST_TOGETHER = 256
"""Operations of one commit."""


class WriterThread:
    """Takes operations in order until it is told to stop; a daemon, so that a disk that hangs stops nobody.

    ``opened`` and ``closed`` say that the file is; ``closed`` holds how many operations are lost.
    """

    def __init__(self, writer: Writer, retention: Retention) -> None:
        self.opened: Future[None] = Future()
        self.closed: Future[int] = Future()
        for each in (self.opened, self.closed):
            each.set_running_or_notify_cancel()  # who waits may stop waiting, which changes nothing here
        self._writer = writer
        self._retention = retention
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._main, name="journal", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, operation: Operation) -> None:
        """Hand one over."""
        self._queue.put(operation)

    def stop(self) -> None:
        """Let it write what was handed over, and end; ``closed`` tells when."""
        self._queue.put(None)

    def _main(self) -> None:
        try:
            self._writer.start()
        except Exception as error:  # noqa: BLE001 - it is the starter's to handle
            self.opened.set_exception(error)
            self.closed.set_result(0)
            return
        self.opened.set_result(None)
        lost = 0
        try:
            while not self._is_stopping:
                self._work(self._take())
        finally:
            with suppress(Exception):
                lost = self._writer.close()
            self.closed.set_result(lost)

    def _work(self, operations: list[Operation]) -> None:
        try:
            if operations:
                self._writer.run(operations)
                self._retention.changed(len(operations))
            self._writer.tend()
            self._prune(is_idle=not operations)
        except Exception as error:
            logger.exception("a defect of the journal")
            for each in operations:
                each.defect = error
                each.settle()

    def _take(self) -> list[Operation]:
        """What waits, or comes before something else is due."""
        taken: list[Operation] = []
        with suppress(Empty):
            each = self._queue.get(timeout=self._wait_s())
            while each is not None and len(taken) < MOST_TOGETHER - 1:
                taken.append(each)
                each = self._queue.get_nowait()
            if each is None:
                self._is_stopping = True
            else:
                taken.append(each)
        return taken

    def _wait_s(self) -> float:
        due_s = self._writer.due_in_s()
        if due_s is None:
            return self._retention.due_in_s()
        # While the file cannot be written, nothing is pruned either.
        return due_s if self._writer.fault else min(due_s, self._retention.due_in_s())

    def _prune(self, *, is_idle: bool) -> None:
        if not is_idle:
            self._writer.also(self._retention.step_if_pressing)
        elif self._retention.due_in_s() == 0:
            self._writer.also(self._retention.step)

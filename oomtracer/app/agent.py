"""The composition root: what there is on every host, and the order of start and stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from oomtracer.app.memory import protect
from oomtracer.app.tracing import LOSSES, Tracing
from oomtracer.audit import PROGRAM_STAGES, UNSEEN
from oomtracer.config import Config, OnUnsupported, OutputFormat
from oomtracer.errors import UnsupportedError
from oomtracer.kernel import facts
from oomtracer.kernel.symbols import KernelSymbols
from oomtracer.pipeline import Attributor, Pipeline
from oomtracer.sinks.console import Console
from oomtracer.sinks.jsonl import JsonLines
from oomtracer.sinks.output import OutputWriter, ends_within_a_line
from oomtracer.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oomtracer.app.book import JournalBook
    from oomtracer.app.cluster import ClusterHalf
    from oomtracer.app.recovery import Recovery
    from oomtracer.config import Cluster, State
    from oomtracer.journal import Journal
    from oomtracer.sinks import Sink
    from oomtracer.sinks.metrics import Metrics

logger = logging.getLogger("oomtracer.app")

STDOUT = 1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Time for standard output to take what is queued, at the end.
FLUSH_SECONDS = 5.0


def run(config: Config) -> None:
    """Trace until SIGTERM, SIGINT or SIGHUP; a second signal ends the process at once.

    Raises OomTracerError: what could not be set up, or what failed later.
    """
    asyncio.run(_App(config).run())


class _App:
    """The parts, and what they know of each other. ``fault`` is why the agent is not ready, or empty."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = asyncio.Event()
        self._tracer = Tracer(
            ring_size_bytes=config.ring_size_bytes,
            disabled_hooks=config.disabled_hooks,
            pin_path=config.pin_path,
        )
        self._journal: Journal | None = None
        self._book: JournalBook | None = None
        self._metrics: Metrics | None = None
        self._cluster: ClusterHalf | None = None
        self._tracing: Tracing | None = None
        self._recovery: Recovery | None = None
        self._fault = "starting"

    async def run(self) -> None:
        self._watch_signals()
        self._writer = OutputWriter(STDOUT)
        async with AsyncExitStack() as stack:
            if self._config.state:
                self._journal = await self._open_journal(stack, self._config.state)
            if self._config.metrics_bind_address:
                self._metrics = await self._serve(stack, self._config.metrics_bind_address)
            try:
                stack.enter_context(self._tracer)
            except UnsupportedError as error:
                if self._config.on_unsupported is OnUnsupported.EXIT:
                    raise
                await self._idle(error)
            else:
                if self._config.cluster:
                    self._cluster = await self._join(stack, self._config.cluster)
                await self._trace()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            # Whoever started us with nohup does not want us to end with the terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        for each in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        if self._stop.is_set():  # came in before the handlers were gone
            signal.raise_signal(number)
        self._stop.set()
        logger.info("%s: stopping", signal.Signals(number).name)

    async def _open_journal(self, stack: AsyncExitStack, state: State) -> Journal:
        # Imported here: a host without --state-dir does without SQLite.
        from oomtracer.journal import Journal, Retention

        retention = Retention(boot_id=facts.boot_id(), max_bytes=state.max_bytes, max_age_s=state.max_age_s)
        journal = Journal(state.directory, retention)
        await journal.start()
        stack.push_async_callback(journal.close)
        return journal

    async def _serve(self, stack: AsyncExitStack, address: str) -> Metrics:
        # Imported here: 3 MiB that a host without --metrics-bind-address need not carry.
        from oomtracer.app.pages import Counts, serve

        counts = Counts(
            tracer=self._tracer,
            pipeline=lambda: self._tracing.pipeline if self._tracing else None,
            events=self._events,
            lost=self._lost,
            backfilled=lambda: self._recovery.recovered if self._recovery else 0,
            queued_bytes=lambda: self._writer.queued_bytes,
        )
        return await serve(stack, address, counts, fault=self._not_ready, journal=self._journal)

    def _not_ready(self) -> str:
        return self._fault or (self._journal.fault if self._journal else "")

    async def _idle(self, error: UnsupportedError) -> None:
        self._fault = error.message
        logger.error("idle, nothing is traced: %s; %s", error.message, error.hint)
        await self._stop.wait()

    async def _join(self, stack: AsyncExitStack, cluster: Cluster) -> ClusterHalf:
        # Imported here: a host without a cluster carries nothing of it.
        from oomtracer.kube.lean import without_system_certificates

        with without_system_certificates():
            from oomtracer.app.cluster import ClusterHalf

        half = ClusterHalf(
            cluster,
            node_name=self._config.node_name,
            has_metrics=self._metrics is not None,
            journal=self._journal,
        )
        await stack.enter_async_context(half)
        if self._metrics:
            self._metrics.add(*half.collectors())
        return half

    async def _trace(self) -> None:
        # Attached already: what is killed while the symbols are read waits in the ring.
        self._boot_id = facts.boot_id()
        if self._journal and self._config.state:
            self._book = self._make_book(self._journal, self._config.state)
        self._tracing = self._make_tracing()
        protect()
        if self._journal:
            await self._take_up(self._journal, self._tracing)
        self._fault = ""
        logger.info("tracing OOM kills on %s, Linux %s", self._config.node_name, os.uname().release)
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        tasks = [*self._tracing.start(), *(self._cluster.start() if self._cluster else [])]
        catching_up = asyncio.create_task(self._catch_up(self._tracing), name="catch up")
        try:
            ends: list[asyncio.Future[Any]] = [stop, self._writer.failed, *tasks]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            catching_up.cancel()
            self._fault = "stopping"
            try:
                await self._tracing.stop()
            finally:
                await self._finish()
        if self._cluster and (failure := self._cluster.failure()):
            raise failure

    async def _catch_up(self, tracing: Tracing) -> None:
        """What is known only once the ring is read: what a process before this one lost, and what the log adds."""
        try:
            recovered = await self._recovery.run(tracing.caught_up) if self._recovery else 0
            await tracing.reconcile(recovered)
        except Exception:  # a defect of ours in this ends nothing else
            logger.exception("what was before the start is not all known")

    def _make_tracing(self) -> Tracing:
        self._report_sink = self._make_report_sink()
        named = self._cluster.name([self._report_sink]) if self._cluster else self._report_sink
        self._recovery = self._make_recovery() if self._config.backfill else None
        attributor = Attributor(
            boot_id=self._boot_id,
            node=self._config.node_name,
            symbols=KernelSymbols.load(),
            memory_nodes=facts.memory_nodes(),
        )
        sinks = [each for each in (self._metrics, self._recovery, named) if each]
        return Tracing(self._tracer, Pipeline(attributor, sinks), self._book, lost_behind=self._lost_behind)

    def _make_report_sink(self) -> Sink:
        output = self._config.output
        if output is OutputFormat.AUTO:
            output = OutputFormat.TEXT if os.isatty(STDOUT) else OutputFormat.JSON
        if ends_within_a_line(STDOUT):
            self._writer.write(b"\n")
        sink = Console if output is OutputFormat.TEXT else JsonLines
        if self._book is None:
            return sink(self._writer)
        return self._book.once(sink(self._writer, self._book.told))

    def _make_book(self, journal: Journal, state: State) -> JournalBook:
        from oomtracer.app.book import JournalBook

        return JournalBook(journal, directory=state.directory, boot_id=self._boot_id, owed_to=self._cluster)

    def _make_recovery(self) -> Recovery:
        from oomtracer.app.recovery import Recovery

        return Recovery(
            boot_id=self._boot_id,
            node=self._config.node_name,
            attached_ns=self._tracer.attached_ns,
            journal=self._journal,
            tell=self._cluster.tell_past if self._cluster else self._report_sink.emit,
        )

    async def _take_up(self, journal: Journal, tracing: Tracing) -> None:
        """Deliver what an agent before this one owed, in the order of the kills."""
        from oomtracer.app.resume import read_journal

        resume = await read_journal(journal)
        for report in resume.untold:
            self._report_sink.emit(report)
        if self._cluster:
            self._cluster.resume(resume.owed)
        else:
            resume.waive(journal)
        tracing.lost_at_start = resume.drop_other_boots(self._boot_id, journal)
        await tracing.take_up(resume, self._boot_id)

    async def _finish(self) -> None:
        try:
            if self._cluster:
                await self._cluster.stop()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self._writer.flush(FLUSH_SECONDS)
        finally:
            lost = {stage: count for stage, count in self._lost().items() if count}
            level = logging.ERROR if lost else logging.INFO
            observed = self._tracing.pipeline.observed if self._tracing else 0
            told = ", ".join(f"{stage} {count}" for stage, count in lost.items())
            logger.log(level, "kills observed: %d, lost: %s", observed, told or "none")

    def _events(self) -> Mapping[tuple[str, str], int]:
        observed = self._tracing.pipeline.observed if self._tracing else 0
        return {("observed", "ebpf_capture"): observed} | (self._cluster.events() if self._cluster else {})

    def _lost(self) -> Mapping[str, int]:
        """By stage, in the order of a kill's way."""
        unseen = self._tracing.verdict.lost.get(UNSEEN, 0) if self._tracing else 0
        counted = self._tracer.counted()
        in_kernel = {stage: int(getattr(counted, stage)) for stage in PROGRAM_STAGES}
        return {UNSEEN: unseen, **in_kernel, **self._lost_behind()}

    def _lost_behind(self) -> Mapping[str, int]:
        """What came out of the ring and went no further."""
        tracing, cluster = self._tracing, self._cluster
        lost = tracing.lost() if tracing else dict.fromkeys(LOSSES, 0)
        lost["sink"] += cluster.untold if cluster else 0
        return {**lost, "stdout": self._writer.lost}

"""The composition root: what there is on every host, and the order of start and stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from oomtracer import __version__
from oomtracer.app.memory import protect
from oomtracer.app.tracing import Tracing
from oomtracer.audit import PROGRAM_STAGES, UNSEEN
from oomtracer.config import Config, OnUnsupported, OutputFormat
from oomtracer.errors import UnsupportedError
from oomtracer.kernel import facts
from oomtracer.kernel.symbols import KernelSymbols
from oomtracer.libbpf import libbpf_version
from oomtracer.pipeline import Attributor, Pipeline
from oomtracer.sinks.console import Console
from oomtracer.sinks.jsonl import JsonLines
from oomtracer.sinks.output import OutputWriter, ends_within_a_line
from oomtracer.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oomtracer.app.book import JournalBook
    from oomtracer.app.cluster import ClusterHalf
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
        self._tracing: Tracing | None = None
        self._cluster: ClusterHalf | None = None
        self._fault = "starting"

    async def run(self) -> None:
        self._watch_signals()
        self._writer = OutputWriter(STDOUT)
        async with AsyncExitStack() as stack:
            journal = await self._open_journal(stack, self._config.state) if self._config.state else None
            metrics = await self._serve(stack) if self._config.metrics_bind_address else None
            try:
                stack.enter_context(self._tracer)
            except UnsupportedError as error:
                if self._config.on_unsupported is OnUnsupported.EXIT:
                    raise
                await self._idle(error)
            else:
                if self._config.cluster:
                    self._cluster = await self._join(stack, self._config.cluster, metrics, journal)
                await self._trace(journal, metrics)

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

    def _report_sink(self, book: JournalBook | None) -> Sink:
        output = self._config.output
        if output is OutputFormat.AUTO:
            output = OutputFormat.TEXT if os.isatty(STDOUT) else OutputFormat.JSON
        if ends_within_a_line(STDOUT):
            self._writer.write(b"\n")
        sink = Console if output is OutputFormat.TEXT else JsonLines
        return sink(self._writer, book.told if book else None)

    async def _serve(self, stack: AsyncExitStack) -> Metrics:
        # Imported here: 3 MiB that a host without --metrics-bind-address need not carry.
        from oomtracer.server import Headers, HttpServer, Response, parse_bind_address, probe
        from oomtracer.sinks.metrics import Metrics, Sources

        metrics = Metrics(
            Sources(
                version=__version__,
                libbpf=libbpf_version(),
                events=self._events,
                repeated=lambda: self._tracing.pipeline.repeated if self._tracing else 0,
                lost=self._lost,
                hooks=self._tracer.attached,
                second_kills=self._tracer.second_kills,
                kernel_kills=facts.oom_kills_since_boot,
                queued_bytes=lambda: self._writer.queued_bytes,
                connections=lambda: {
                    "accepted": server.accepted,
                    "evicted": server.evicted,
                    "refused": server.refused,
                },
            )
        )

        def page(headers: Headers) -> Response:
            body, content_type = metrics.page(headers.get("accept", ""))
            return Response(body, content_type)

        routes = {"/metrics": page, "/healthz": probe(lambda: ""), "/readyz": probe(lambda: self._fault)}
        server = HttpServer(parse_bind_address(str(self._config.metrics_bind_address)), routes)
        await stack.enter_async_context(server)
        logger.info("serving /metrics, /healthz and /readyz on %s", ", ".join(map(str, server.addresses)))
        return metrics

    async def _idle(self, error: UnsupportedError) -> None:
        self._fault = error.message
        logger.error("idle, nothing is traced: %s; %s", error.message, error.hint)
        await self._stop.wait()

    async def _join(
        self, stack: AsyncExitStack, cluster: Cluster, metrics: Metrics | None, journal: Journal | None
    ) -> ClusterHalf:
        # Imported here: a host without a cluster carries nothing of it.
        from oomtracer.kube.lean import without_system_certificates

        with without_system_certificates():
            from oomtracer.app.cluster import ClusterHalf

        half = ClusterHalf(
            cluster, node_name=self._config.node_name, has_metrics=metrics is not None, journal=journal
        )
        await stack.enter_async_context(half)
        if metrics:
            metrics.add(*half.collectors())
        return half

    async def _trace(self, journal: Journal | None, metrics: Metrics | None) -> None:
        # Attached already: what is killed while the symbols are read waits in the ring.
        boot_id = facts.boot_id()
        book = self._keep_book(journal, boot_id) if journal else None
        report_sink = self._report_sink(book)
        self._tracing = Tracing(
            self._tracer,
            Pipeline(
                Attributor(
                    boot_id=boot_id,
                    node=self._config.node_name,
                    symbols=KernelSymbols.load(),
                    memory_nodes=facts.memory_nodes(),
                ),
                [*([metrics] if metrics else []), self._named(report_sink)],
            ),
            book,
            lost_behind=self._lost_behind,
        )
        protect()
        if journal:
            await self._take_up(journal, boot_id, report_sink)
        self._fault = ""
        logger.info("tracing OOM kills on %s, Linux %s", self._config.node_name, os.uname().release)
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        tasks: list[asyncio.Future[Any]] = [
            *self._tracing.start(),
            *(self._cluster.start() if self._cluster else []),
        ]
        try:
            tasks += [stop, self._writer.failed]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            self._fault = "stopping"
            try:
                await self._tracing.stop()
            finally:
                await self._finish()
        if self._cluster and (failure := self._cluster.failure()):
            raise failure

    def _named(self, report_sink: Sink) -> Sink:
        return self._cluster.name([report_sink]) if self._cluster else report_sink

    def _keep_book(self, journal: Journal, boot_id: str) -> JournalBook:
        from oomtracer.app.book import JournalBook

        return JournalBook(journal, boot_id=boot_id, owed_to=self._cluster)

    async def _take_up(self, journal: Journal, boot_id: str, report_sink: Sink) -> None:
        """Deliver what an agent before this one owed, in the order of the kills."""
        from oomtracer.app.resume import read_journal

        assert self._tracing
        resume = await read_journal(journal)
        for report in resume.untold:
            report_sink.emit(report)
        if self._cluster:
            self._cluster.resume(resume.owed)
        else:
            resume.waive(journal)
        await self._tracing.take_up(resume, boot_id)

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
            logger.log(level, "kills observed: %d, lost: %s", observed, lost or "none")

    def _events(self) -> Mapping[tuple[str, str], int]:
        observed = self._tracing.pipeline.observed if self._tracing else 0
        return {("observed", "ebpf_capture"): observed} | (self._cluster.events() if self._cluster else {})

    def _lost(self) -> Mapping[str, int]:
        """By stage, in the order of a kill's way."""
        counted = self._tracer.counted()._asdict()
        unseen = self._tracing.verdict.lost.get(UNSEEN, 0) if self._tracing else 0
        return {UNSEEN: unseen, **{stage: counted[stage] for stage in PROGRAM_STAGES}, **self._lost_behind()}

    def _lost_behind(self) -> Mapping[str, int]:
        """What came out of the ring and went no further."""
        tracing, cluster = self._tracing, self._cluster
        pipeline = tracing.pipeline if tracing else None
        return {
            "decode": pipeline.undecodable if pipeline else 0,
            "attribute": (pipeline.unattributable if pipeline else 0)
            + (tracing.lost_at_start if tracing else 0),
            "stdout": self._writer.lost,
            "sink": (pipeline.untold if pipeline else 0) + (cluster.untold if cluster else 0),
        }

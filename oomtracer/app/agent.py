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
from oomtracer.config import Config, OnUnsupported, OutputFormat
from oomtracer.errors import UnsupportedError
from oomtracer.kernel import facts
from oomtracer.kernel.symbols import KernelSymbols
from oomtracer.libbpf import libbpf_version
from oomtracer.pipeline import Attributor, Intake, Pipeline
from oomtracer.sinks.console import Console
from oomtracer.sinks.jsonl import JsonLines
from oomtracer.sinks.output import OutputWriter
from oomtracer.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oomtracer.app.cluster import ClusterHalf
    from oomtracer.config import Cluster
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
        self._tracer = Tracer(ring_size_bytes=config.ring_size_bytes, disabled_hooks=config.disabled_hooks)
        self._pipeline: Pipeline | None = None
        self._cluster: ClusterHalf | None = None
        self._fault = "starting"

    async def run(self) -> None:
        self._watch_signals()
        self._writer = OutputWriter(STDOUT)
        async with AsyncExitStack() as stack:
            metrics = await self._serve(stack) if self._config.metrics_bind_address else None
            try:
                stack.enter_context(self._tracer)
            except UnsupportedError as error:
                if self._config.on_unsupported is OnUnsupported.EXIT:
                    raise
                await self._idle(error)
            else:
                if self._config.cluster:
                    self._cluster = await self._join(stack, self._config.cluster, metrics)
                await self._trace([self._report_sink()], metrics)

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

    def _report_sink(self) -> Sink:
        output = self._config.output
        if output is OutputFormat.AUTO:
            output = OutputFormat.TEXT if os.isatty(STDOUT) else OutputFormat.JSON
        return Console(self._writer) if output is OutputFormat.TEXT else JsonLines(self._writer)

    async def _serve(self, stack: AsyncExitStack) -> Metrics:
        # Imported here: 3 MiB that a host without --metrics-bind-address need not carry.
        from oomtracer.server import Headers, HttpServer, Response, parse_bind_address, probe
        from oomtracer.sinks.metrics import Metrics, Sources

        metrics = Metrics(
            Sources(
                version=__version__,
                libbpf=libbpf_version(),
                events=self._events,
                repeated=lambda: self._pipeline.repeated if self._pipeline else 0,
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

    async def _join(self, stack: AsyncExitStack, cluster: Cluster, metrics: Metrics | None) -> ClusterHalf:
        # Imported here: a host without a cluster carries nothing of it.
        from oomtracer.kube.lean import without_system_certificates

        with without_system_certificates():
            from oomtracer.app.cluster import ClusterHalf

        half = ClusterHalf(cluster, node_name=self._config.node_name, has_metrics=metrics is not None)
        await stack.enter_async_context(half)
        if metrics:
            metrics.add(*half.collectors())
        return half

    async def _trace(self, told: list[Sink], metrics: Metrics | None) -> None:
        # Attached already: what is killed while the symbols are read waits in the ring.
        attributor = Attributor(
            boot_id=facts.boot_id(),
            node=self._config.node_name,
            symbols=KernelSymbols.load(),
            memory_nodes=facts.memory_nodes(),
        )
        names = self._cluster.name(told) if self._cluster else None
        sinks: list[Sink] = [names] if names else told
        self._pipeline = Pipeline(attributor, [*([metrics] if metrics else []), *sinks])
        protect()
        intake = Intake(self._tracer, self._pipeline.handle)
        draining = asyncio.create_task(intake.run(), name="intake")
        self._fault = ""
        logger.info("tracing OOM kills on %s, Linux %s", self._config.node_name, os.uname().release)
        tasks = self._cluster.start() if self._cluster else []
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        ends: list[asyncio.Future[Any]] = [stop, self._writer.failed, draining, *tasks]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            self._fault = "stopping"
            try:
                self._tracer.stop()
                intake.stop()
                await draining
                await intake.finish()
            finally:
                await self._finish()
        if self._cluster and (failure := self._cluster.failure()):
            raise failure

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
            observed = self._pipeline.observed if self._pipeline else 0
            logger.log(level, "kills observed: %d, lost: %s", observed, lost or "none")

    def _events(self) -> Mapping[tuple[str, str], int]:
        observed = self._pipeline.observed if self._pipeline else 0
        return {("observed", "ebpf_capture"): observed} | (self._cluster.events() if self._cluster else {})

    def _lost(self) -> Mapping[str, int]:
        pipeline = self._pipeline
        return {
            "ring": self._tracer.records_lost(),
            "victim": self._tracer.victims_not_found(),
            "decode": pipeline.undecodable if pipeline else 0,
            "attribute": pipeline.unattributable if pipeline else 0,
            "stdout": self._writer.lost,
            "sink": (pipeline.untold if pipeline else 0) + (self._cluster.untold if self._cluster else 0),
        }

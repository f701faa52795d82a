"""``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer import __version__
from oomtracer.kernel import facts
from oomtracer.libbpf import libbpf_version
from oomtracer.server import Headers, HttpServer, Response, parse_bind_address, probe
from oomtracer.sinks.metrics import Metrics, Sources

if TYPE_CHECKING:
    from oomtracer.journal import Journal
    from oomtracer.pipeline import Pipeline
    from oomtracer.tracer import Tracer

logger = logging.getLogger("oomtracer.app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where the numbers come from. ``pipeline`` gives None before there is one."""

    tracer: Tracer
    pipeline: Callable[[], Pipeline | None]
    events: Callable[[], Mapping[tuple[str, str], int]]
    lost: Callable[[], Mapping[str, int]]
    backfilled: Callable[[], int]
    queued_bytes: Callable[[], int]

    def repeated(self) -> int:
        """Kills that were not told again."""
        pipeline = self.pipeline()
        return pipeline.repeated if pipeline else 0


async def serve(
    stack: AsyncExitStack, address: str, counts: Counts, *, fault: Callable[[], str], journal: Journal | None
) -> Metrics:
    """Serve until the stack unwinds. ``fault`` tells why the agent is not ready, or nothing."""
    metrics = Metrics(_sources(counts, lambda: server))
    if journal:
        from oomtracer.sinks.journal_metrics import JournalMetrics

        metrics.add(JournalMetrics(journal))

    def page(headers: Headers) -> Response:
        body, content_type = metrics.page(headers.get("accept", ""))
        return Response(body, content_type)

    routes = {"/metrics": page, "/healthz": probe(lambda: ""), "/readyz": probe(fault)}
    server = HttpServer(parse_bind_address(address), routes)
    await stack.enter_async_context(server)
    logger.info("serving /metrics, /healthz and /readyz on %s", ", ".join(map(str, server.addresses)))
    return metrics


def _sources(counts: Counts, server: Callable[[], HttpServer]) -> Sources:
    return Sources(
        version=__version__,
        libbpf=libbpf_version(),
        events=counts.events,
        repeated=counts.repeated,
        lost=counts.lost,
        hooks=counts.tracer.attached,
        pinned=lambda: counts.tracer.is_pinned if counts.tracer.pin_path else None,
        second_kills=counts.tracer.second_kills,
        kernel_kills=facts.oom_kills_since_boot,
        backfilled=counts.backfilled,
        queued_bytes=counts.queued_bytes,
        connections=lambda: {
            "accepted": server().accepted,
            "evicted": server().evicted,
            "refused": server().refused,
        },
    )

"""The cluster half of the agent over a real journal, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oomtracer.app.cluster import ClusterHalf
from oomtracer.config import Cluster
from oomtracer.events import OomReport, Workload, WorkloadKind
from oomtracer.journal import Delivery, Journal, ReportRow, Retention
from oomtracer.journal.reports import owed
from oomtracer.kernel import facts
from oomtracer.pipeline import Naming
from tests.policy import scenes

from .apiserver import FakeApiServer, container_id_of, make_pod
from .mark_scene import ANNOTATION, MARKING

NODE = "node-1"
BOTH = Delivery.MARK | Delivery.EVENT
WITHIN_S = 20.0


def kill(metadata, number: int = 1) -> OomReport:
    """Build the report of a kill in a pod, now."""
    report_id = f"{facts.boot_id()}:{number}:1"
    return scenes.pod_report(
        id=report_id,
        incident=report_id,
        node=NODE,
        boot_time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        workload=Workload(
            kind=WorkloadKind.POD,
            pod_uid=metadata["uid"],
            container_id=container_id_of(metadata["uid"], "app"),
            static=False,
            resolved=False,
        ),
    )


@asynccontextmanager
async def agent(server: FakeApiServer, folder: Path) -> AsyncIterator[tuple[Journal, Naming]]:
    """Run journal and cluster half as the agent does, from the first resumed report to the end."""
    config = server.write_kubeconfig(folder / "config")
    cluster = Cluster(kubeconfig=str(config), marking=replace(MARKING, max_age_s=900.0), start_jitter_s=0.0)
    journal = Journal(folder / "state", Retention(boot_id=facts.boot_id()))
    await journal.start()
    async with ClusterHalf(cluster, node_name=NODE, has_metrics=False, journal=journal) as half:
        naming = half.name([])
        assert half.owed == BOTH
        half.resume(await journal.submit(lambda each: owed(each, half.owed)))
        half.start()
        yield journal, naming
        await half.stop()
        assert half.failure() is None
    assert await journal.close() == 0


@pytest.mark.parametrize("is_down_at_start", [False, True])
def test_what_the_first_agent_could_not_send_the_second_one_does(tmp_path, is_down_at_start):
    """A mark and Events that were pending at SIGTERM, with names known or not, are made after the next start."""

    async def main() -> None:
        async with FakeApiServer(node=NODE) as server:
            metadata = server.add_pod(make_pod("shop-0", namespace="shop", node=NODE))["metadata"]
            if is_down_at_start:
                server.fail(503)
            else:
                server.fail(503, method="PATCH")
                server.fail(503, method="POST")
            async with agent(server, tmp_path) as (journal, naming):
                if not is_down_at_start:
                    await server.until(lambda: server.watches, timeout_s=WITHIN_S)
                await journal.add([ReportRow(report=kill(metadata), pending=BOTH)])
                naming.emit(kill(metadata))
                await server.until(lambda: server.requests, timeout_s=WITHIN_S)
            server.heal()
            async with agent(server, tmp_path) as (journal, _):
                await server.until(lambda: len(server.events) == 3, timeout_s=WITHIN_S)
                reasons = sorted(event["reason"] for event in server.events)
                assert reasons == ["MarkedForEviction", "NodeOOMKilled", "ProcessOOMKilled"]
                assert (
                    server.pod("shop", "shop-0")["metadata"]["annotations"][ANNOTATION.key]
                    == ANNOTATION.value
                )
            async with agent(server, tmp_path) as (journal, _):
                assert await journal.submit(lambda each: owed(each, BOTH)) == []
            assert {event.get("series") for event in server.events} == {None}

    asyncio.run(main())

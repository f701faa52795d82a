"""Writes to a journal and tells what that took, as JSON: ``journal_process.py DIRECTORY BATCHES``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from process import memory

from oomtracer.events import (
    CgroupLevel,
    Limit,
    LimitOwner,
    OomReport,
    Outcome,
    Owner,
    Runtime,
    Scope,
    Source,
    Trigger,
    Victim,
    Workload,
    WorkloadKind,
)

RECORD_BYTES = 3452
RING = "00c0ffee00c0ffee"
_CGROUP = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8c5f2f5e.slice/cri-containerd-d6701ec2.scope"


async def main(directory: str, batches: int) -> None:
    """Measure alone first what the module itself takes."""
    before = memory(os.getpid())
    from oomtracer.journal import Journal, ReportRow, Retention  # noqa: PLC0415 - its memory is measured

    journal = Journal(Path(directory), Retention(boot_id="0"))
    begin = time.perf_counter()
    await journal.start()
    open_seconds = time.perf_counter() - begin
    opened = memory(os.getpid())
    number = 0
    results: dict[str, list[float]] = {"1": [], "64": []}
    for size in (1, 64):
        for _ in range(batches):
            rows = [ReportRow(report=_report(each)) for each in range(number, number + size)]
            raw = [(each, os.urandom(RECORD_BYTES)) for each in range(number, number + size)]
            begin = time.perf_counter()
            await journal.store(RING, raw)
            await journal.add(rows, [(RING, seq) for seq, _ in raw])
            results[str(size)].append(time.perf_counter() - begin)
            number += size
    sync = [await journal.submit(lambda _: _sync_seconds(Path(directory))) for _ in range(10)]
    after = memory(os.getpid())
    await journal.close()
    print(
        json.dumps(
            {
                "open_seconds": open_seconds,
                "one_seconds": results["1"],
                "many_seconds": results["64"],
                "sync_seconds": sync,
                "before_memory": asdict(before),
                "open_memory": asdict(opened),
                "after_memory": asdict(after),
            }
        )
    )


def _sync_seconds(directory: Path) -> float:
    """What fsync takes for a page that was written a moment ago."""
    fd = os.open(directory / "page", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"x" * 4096)
    begin = time.perf_counter()
    os.fdatasync(fd)
    seconds = time.perf_counter() - begin
    os.close(fd)
    return seconds


def _report(number: int) -> OomReport:
    return replace(_SAMPLE, id=f"0:{number}:1", boot_time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME))


_POD = Workload(
    kind=WorkloadKind.POD,
    namespace="shop",
    pod="web-5d9c7b6f4-x2x7k",
    pod_uid="8c5f2f5e-3d7f-4a57-a2f0-0b7d3a1d2c4e",
    container="server",
    container_id="d6701ec289c56e4391acb11d07474b3139466857a305490575508a8b7a9fcf22",
    runtime=Runtime.CONTAINERD,
    static=False,
    owner=Owner(kind="Deployment", name="web"),
)
_SAMPLE = OomReport(
    id="",
    time="2026-03-01T12:34:56.789012Z",
    boot_time_ns=0,
    node="node-1",
    source=Source.TP_BTF,
    outcome=Outcome.KILLED,
    selftest=False,
    scope=Scope.MEMCG,
    sysrq=False,
    victim=Victim(
        pid=4242,
        tid=4242,
        container_pid=7,
        comm="server",
        uid=1000,
        oom_score_adj=900,
        start_time_ns=77_000_000_000,
        total_vm_bytes=300 << 20,
        anon_rss_bytes=64 << 20,
        file_rss_bytes=1 << 20,
        shmem_rss_bytes=0,
        swap_bytes=0,
        page_tables_bytes=1 << 18,
        cgroup=_CGROUP,
    ),
    trigger=Trigger(pid=4242, tid=4242, comm="server", cgroup=_CGROUP),
    trigger_workload=_POD,
    limit=Limit(
        cgroup=_CGROUP, owner=LimitOwner.CONTAINER, limit_bytes=64 << 20, usage_bytes=64 << 20, certain=True
    ),
    levels=tuple([CgroupLevel(cgroup=_CGROUP, usage_bytes=64 << 20, limit_bytes=64 << 20)] * 4),
    group=None,
    incident="0:4242:77000000000",
    order=0,
    gfp_mask=0xCC0,
    kernel_stack=tuple([f"some_function_of_the_kernel+0x{each:x}" for each in range(16)]),
    workload=_POD,
    init_died=False,
    shared_memory=False,
)

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

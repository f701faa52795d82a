"""Kills and reports that tests start from, and names that a pod may choose."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

from hypothesis import settings

from oomtracer.events import (
    CgroupLevel,
    Limit,
    LimitOwner,
    OomKill,
    OomReport,
    Outcome,
    Scope,
    Source,
    Trigger,
    Victim,
    Workload,
    WorkloadKind,
)

MIB = 1 << 20
BOOT_ID = "0f3b8f0e-5b0c-4b8e-9d55-4a4b5a0d7a11"
TIME = "2026-03-01T12:34:56.789012Z"
POD_UID = "8c5f2f5e-3d7f-4a57-a2f0-0b7d3a1d2c4e"
CONTAINER_ID = "d6701ec289c56e4391acb11d07474b3139466857a305490575508a8b7a9fcf22"
QOS = "/kubepods.slice/kubepods-burstable.slice"
POD = f"{QOS}/kubepods-burstable-pod{POD_UID.replace('-', '_')}.slice"
CONTAINER = f"{POD}/cri-containerd-{CONTAINER_ID}.scope"
SERVICE = "/system.slice/shop.service"


def examples(count: int) -> settings:
    """Settings for a property: the same examples at each run, however slow the machine."""
    return settings(max_examples=count, derandomize=True, deadline=None)


def level(cgroup: str, usage: int = 0, limit: int | None = None, **more: bool) -> CgroupLevel:
    """Build a level; usage and limit in bytes."""
    return CgroupLevel(cgroup=cgroup, usage_bytes=usage, limit_bytes=limit, **more)


def victim(**changes: Any) -> Victim:
    """Build a process of a service, killed."""
    plain = Victim(
        pid=4242,
        tid=4242,
        container_pid=4242,
        comm="shop",
        uid=1000,
        oom_score_adj=0,
        start_time_ns=77_000_000_000,
        total_vm_bytes=200 * MIB,
        anon_rss_bytes=60 * MIB,
        file_rss_bytes=3 * MIB,
        shmem_rss_bytes=0,
        swap_bytes=0,
        page_tables_bytes=200 << 10,
        cgroup=SERVICE,
    )
    return replace(plain, **changes)


def trigger(**changes: Any) -> Trigger:
    """Build the victim itself, as its own trigger."""
    return replace(Trigger(pid=4242, tid=4242, comm="shop", cgroup=SERVICE), **changes)


def kill(**changes: Any) -> OomKill:
    """Build a kill in a service at its limit."""
    plain = OomKill(
        seq=1,
        boot_time_ns=99_000_000_000,
        source=Source.TP_BTF,
        outcome=Outcome.KILLED,
        shared_memory=False,
        victim=victim(),
        pid_namespace_level=0,
        unified_cgroup=None,
        trigger=trigger(),
        levels=(level(SERVICE, 64 * MIB, 64 * MIB), level("/system.slice", 300 * MIB)),
        levels_complete=True,
        stack=(),
    )
    return replace(plain, **changes)


def report(**changes: Any) -> OomReport:
    """Build the report of that kill."""
    report_id = f"{BOOT_ID}:4242:77000000000"
    unit = Workload(kind=WorkloadKind.UNIT, unit="shop.service", slice="system.slice")
    plain = OomReport(
        id=report_id,
        time=TIME,
        boot_time_ns=99_000_000_000,
        node="node-1",
        source=Source.TP_BTF,
        outcome=Outcome.KILLED,
        selftest=False,
        scope=Scope.MEMCG,
        sysrq=False,
        victim=victim(),
        trigger=trigger(),
        trigger_workload=unit,
        limit=limit(),
        levels=(level(SERVICE, 64 * MIB, 64 * MIB), level("/system.slice", 300 * MIB)),
        group=None,
        incident=report_id,
        order=None,
        gfp_mask=None,
        kernel_stack=("mark_oom_victim+0x8a", "?"),
        workload=unit,
        init_died=None,
        shared_memory=False,
    )
    return replace(plain, **changes)


def limit(**changes: Any) -> Limit:
    """Build that service's limit, surely hit."""
    plain = Limit(
        cgroup=SERVICE,
        owner=LimitOwner.UNIT,
        limit_bytes=64 * MIB,
        usage_bytes=64 * MIB,
        certain=True,
    )
    return replace(plain, **changes)


def unfit(text: str) -> set[str]:
    """Find the characters that could move a cursor, hide, or start a line."""
    if text.isascii() and text.isprintable():
        return set()
    categories = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {character for character in text if unicodedata.category(character) in categories}


HOSTILE = [
    "\n",
    "\r\n",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\u202e",
    "\u2028",
    "\x85",
    "\\n",
    '"',
    "\ud800",
    "\x00",
    "\ufeff",
]

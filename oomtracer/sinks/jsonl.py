"""Reports as JSON, one object a line: the schema ``oomtracer/v1`` (docs/oom-report.schema.json)."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from oomtracer.events import CgroupLevel, Group, Limit, Owner, Victim, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from oomtracer.events import OomReport
    from oomtracer.sinks.output import OutputWriter

SCHEMA = "oomtracer/v1"

# Asked once, not at each kill: dataclasses.asdict() does, and copies deeply, which made the daemon's memory
# creep up by 1 MiB over 1,000 kills.
_KEYS: dict[type, tuple[str, ...]] = {
    kind: tuple([field.name for field in fields(kind)])
    for kind in (CgroupLevel, Group, Limit, Owner, Workload)
}
_KEYS[Victim] = (
    *("pid", "tid", "container_pid", "comm", "cmdline", "uid", "oom_score_adj", "start_time_ns"),
    *("total_vm_bytes", "anon_rss_bytes", "file_rss_bytes", "shmem_rss_bytes", "swap_bytes"),
    *("page_tables_bytes", "cgroup"),
)


def to_json(report: OomReport) -> dict[str, Any]:
    """The report in the published order of keys; every key is there, unknown is None."""
    trigger = report.trigger
    return {
        "schema": SCHEMA,
        "id": report.id,
        "time": report.time,
        "boot_time_ns": report.boot_time_ns,
        "node": report.node,
        "source": report.source.value,
        "outcome": report.outcome.value,
        "selftest": report.selftest,
        "scope": report.scope.value,
        "sysrq": report.sysrq,
        "victim": _plain(report.victim),
        "trigger": trigger
        and {
            "pid": trigger.pid,
            "comm": trigger.comm,
            "cgroup": trigger.cgroup,
            "workload": report.trigger_workload and _workload(report.trigger_workload),
        },
        "limit": report.limit and _plain(report.limit),
        "levels": [_plain(level) for level in report.levels],
        "group": report.group and _plain(report.group),
        "incident": report.incident,
        "order": report.order,
        "gfp_mask": report.gfp_mask,
        "kernel_stack": report.kernel_stack,
        "workload": _workload(report.workload),
        "init_died": report.init_died,
        "shared_memory": report.shared_memory,
    }


def _plain(value: CgroupLevel | Group | Limit | Owner | Victim | Workload) -> dict[str, Any]:
    return {key: getattr(value, key) for key in _KEYS[type(value)]}


def _workload(workload: Workload) -> dict[str, Any]:
    return _plain(workload) | {"owner": workload.owner and _plain(workload.owner)}


def json_line(report: OomReport) -> bytes:
    """One line. ASCII only: what a pod put into a name can neither break a line nor steer a terminal."""
    return json.dumps(to_json(report), ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


class JsonLines:
    """Writes each report as one line."""

    def __init__(self, writer: OutputWriter, on_written: Callable[[OomReport], None] | None = None) -> None:
        """``on_written`` is told of each report that standard output has taken whole."""
        self._writer = writer
        self._on_written = on_written or (lambda _: None)

    def emit(self, report: OomReport) -> None:
        """Write one report."""
        self._writer.write(json_line(report), partial(self._on_written, report))

"""Reports as text for people: one block each, the answer in its first line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from oomtracer.events import Outcome, Scope, Source, WorkloadKind
from oomtracer.printable import printable, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oomtracer.events import CgroupLevel, Limit, OomReport, Workload
    from oomtracer.sinks.output import OutputWriter

_SCOPES = {
    Scope.GLOBAL: "the node is out of memory",
    Scope.MEMCG: "a cgroup is at its limit",
    Scope.CPUSET: "the memory nodes of a cpuset are full",
    Scope.MEMPOLICY: "the memory nodes of a policy are full",
    Scope.UNKNOWN: "which memory ran out is unknown",
}
_OUTCOMES = {
    Outcome.KILLED: "killed",
    Outcome.ALREADY_EXITING: "was exiting already, not killed",
    Outcome.UNKNOWN: "marked for killing",
}


def workload_name(workload: Workload) -> str:
    """The workload in a few words, the most specific name first."""
    match workload.kind:
        case WorkloadKind.POD:
            name = f"pod {workload.namespace}/{workload.pod}" if workload.pod else f"pod {workload.pod_uid}"
            container = workload.container or (workload.container_id or "")[:12]
            return f"container {container} of {name}" if container else name
        case WorkloadKind.CONTAINER:
            runtime = f" ({workload.runtime})" if workload.runtime else ""
            return f"container {(workload.container_id or '')[:12]}{runtime}"
        case WorkloadKind.UNIT:
            return f"unit {workload.unit or workload.slice}"
        case WorkloadKind.HOST:
            return "the host" if workload.resolved else "an unknown cgroup"


def block(report: OomReport) -> str:
    """The report as lines of text, a blank line behind it; nothing in it but printable characters."""
    lines = [_headline(report), *(f"  {label:<9}{text}" for label, text in _rows(report))]
    return "\n".join(lines) + "\n\n"


def _headline(report: OomReport) -> str:
    tags = " [self-test]" if report.selftest else ""
    tags += " [from the kernel's log]" if report.source is Source.KMSG else ""
    name = printable(report.victim.comm)
    who = printable(workload_name(report.workload))
    victim = f"{name} (pid {report.victim.pid}) {_place(report.workload)} {who}"
    return f"{report.time} OOM {_verb(report)}{tags}: {victim}: {_why(report)}"


def _place(workload: Workload) -> str:
    return "on" if workload.kind is WorkloadKind.HOST and workload.resolved else "in"


def _verb(report: OomReport) -> str:
    return "kill" if report.outcome is Outcome.KILLED else "mark"


def _why(report: OomReport) -> str:
    if report.sysrq:
        return "asked for by sysrq"
    if report.limit:
        likely = "" if report.limit.certain else "likely "
        return f"{likely}the limit of {_owner(report.limit)} was hit"
    return _SCOPES[report.scope]


def _owner(limit: Limit) -> str:
    return {"other": "a cgroup", "kubepods": "all pods", "qos": "a QoS class"}.get(
        limit.owner, f"its {limit.owner}"
    )


def _rows(report: OomReport) -> Iterator[tuple[str, str]]:
    victim = report.victim
    yield "victim", _victim_line(report)
    yield (
        "memory",
        (
            f"anon {size(victim.anon_rss_bytes)}, file {size(victim.file_rss_bytes)}, "
            f"shmem {size(victim.shmem_rss_bytes)}, swap {size(victim.swap_bytes)}, "
            f"page tables {size(victim.page_tables_bytes)}, virtual {size(victim.total_vm_bytes)}"
        ),
    )
    yield "cgroup", printable(victim.cgroup or "?")
    if report.limit:
        used = f"{size(report.limit.usage_bytes)} of {size(report.limit.limit_bytes)} used"
        sure = "" if report.limit.certain else ", not certain"
        yield "limit", f"{used} in {printable(report.limit.cgroup)} ({report.limit.owner}{sure})"
    yield "trigger", _trigger_line(report)
    if report.group:
        yield "group", f"memory.oom.group: process {report.group.index + 1} of incident {report.incident}"
    for label, level in zip(("levels", *[""] * len(report.levels)), report.levels, strict=False):
        yield label, _level_line(level)


def _victim_line(report: OomReport) -> str:
    victim = report.victim
    parts = [f"{printable(victim.comm)}, pid {victim.pid}"]
    if victim.tid != victim.pid:
        parts.append(f"thread {victim.tid}")
    if victim.container_pid not in (None, victim.pid):
        parts.append(f"pid {victim.container_pid} in its container")
    parts += [f"uid {_number(victim.uid)}", f"oom_score_adj {_number(victim.oom_score_adj)}"]
    ending = "; shares the victim's memory" if report.shared_memory else ""
    ending += "; pid 1 of its container" if report.init_died else ""
    return f"{', '.join(parts)}: {_OUTCOMES[report.outcome]}{ending}"


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)


def _trigger_line(report: OomReport) -> str:
    trigger = report.trigger
    if trigger is None:
        return "?" if report.source is Source.KMSG and not report.sysrq else "none"
    if trigger.pid == report.victim.pid:
        return "the victim itself"
    workload = report.trigger_workload
    where = f" {_place(workload)} {printable(workload_name(workload))}" if workload else ""
    number = f"thread {trigger.tid}" if trigger.pid is None else f"pid {trigger.pid}"
    return f"{printable(trigger.comm)} ({number}){where}"


def _level_line(level: CgroupLevel) -> str:
    limit = f"of {size(level.limit_bytes)}" if level.limit_bytes is not None else "no limit"
    swap = ", memory and swap" if level.includes_swap else ""
    return f"{size(level.usage_bytes)} {limit}{swap}  {printable(level.cgroup)}"


class Console:
    """Writes each report as a block of text."""

    def __init__(self, writer: OutputWriter, on_written: Callable[[OomReport], None] | None = None) -> None:
        """``on_written`` is told of each report that standard output has taken whole."""
        self._writer = writer
        self._on_written = on_written or (lambda _: None)

    def emit(self, report: OomReport) -> None:
        """Write one report."""
        self._writer.write(block(report).encode("utf-8", "replace"), partial(self._on_written, report))

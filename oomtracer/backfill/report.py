"""A kill of the kernel's log as a report; what the log does not say is None."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oomtracer.backfill.match import boot_time_ns
from oomtracer.cgroups import is_selftest, limit_owner, workload_of
from oomtracer.events import (
    Group,
    Limit,
    LimitOwner,
    OomReport,
    Outcome,
    Scope,
    Source,
    Trigger,
    Victim,
    Workload,
    WorkloadKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from oomtracer.backfill.parse import LoggedKill

_KIB = 1024
_SCOPES = {
    "NONE": Scope.GLOBAL,
    "CPUSET": Scope.CPUSET,
    "MEMORY_POLICY": Scope.MEMPOLICY,
    "MEMCG": Scope.MEMCG,
}
# What moom_callback() gives for the order of an allocation that nobody made.
_SYSRQ_ORDER = -1
# PAGE_COUNTER_MAX is more than this, with pages of any size.
_NO_LIMIT_KIB = 1 << 52
_UNKNOWN = Workload(kind=WorkloadKind.HOST, resolved=False)
# Whatever is below one of these belongs to it.
_WHOLE = frozenset({LimitOwner.CONTAINER, LimitOwner.POD, LimitOwner.UNIT})


def log_id(boot_id: str, pid: int, time_us: int) -> str:
    """The id of a kill that the log alone tells: the same line has the same id whenever it is read."""
    return f"{boot_id}:{pid}:log-{time_us}"


def report_of(
    kill: LoggedKill,
    *,
    boot_id: str,
    node: str,
    suspended_ns: int,
    incident: str,
    wall_clock: Callable[[int], str],
) -> OomReport:
    """The report of one kill; ``incident`` is the id of its invocation's first."""
    time_ns = boot_time_ns(kill.killed.time_us, suspended_ns)
    workload = _workload(kill)
    sysrq = _sysrq(kill)
    trigger = None if sysrq else _trigger(kill)
    return OomReport(
        id=log_id(boot_id, kill.pid, kill.killed.time_us),
        time=wall_clock(time_ns),
        boot_time_ns=time_ns,
        node=node,
        source=Source.KMSG,
        outcome=Outcome.KILLED,
        selftest=is_selftest(kill.task_memcg or kill.context.oom_memcg or "/"),
        scope=_scope(kill),
        sysrq=sysrq,
        victim=_victim(kill),
        trigger=trigger,
        trigger_workload=workload if trigger and trigger.cgroup else None,
        limit=_limit(kill),
        levels=(),
        group=None if kill.group_index is None else Group(id=incident, index=kill.group_index),
        incident=incident,
        order=kill.context.order,
        gfp_mask=kill.context.gfp_mask,
        kernel_stack=None,
        workload=workload,
        init_died=None,
        shared_memory=False,
    )


def _scope(kill: LoggedKill) -> Scope:
    if kill.killed.is_memcg:
        return Scope.MEMCG
    return _SCOPES.get(kill.context.constraint or "", Scope.UNKNOWN)


def _sysrq(kill: LoggedKill) -> bool | None:
    if kill.killed.is_memcg:
        return False
    return None if kill.context.order is None else kill.context.order == _SYSRQ_ORDER


def _victim(kill: LoggedKill) -> Victim:
    killed = kill.killed
    return Victim(
        pid=kill.pid,
        tid=killed.tid,
        container_pid=None,
        comm=killed.comm,
        uid=killed.uid,
        oom_score_adj=killed.oom_score_adj,
        start_time_ns=None,
        total_vm_bytes=killed.total_vm_kib * _KIB,
        anon_rss_bytes=killed.anon_kib * _KIB,
        file_rss_bytes=killed.file_kib * _KIB,
        shmem_rss_bytes=_bytes(killed.shmem_kib),
        swap_bytes=None,
        page_tables_bytes=_bytes(killed.page_tables_kib),
        cgroup=kill.task_memcg,
    )


def _trigger(kill: LoggedKill) -> Trigger | None:
    context = kill.context
    if context.trigger_comm is None or context.trigger_tid is None:
        return None
    is_victim = kill.pid == context.trigger_pid
    return Trigger(
        pid=context.trigger_pid,
        tid=context.trigger_tid,
        comm=context.trigger_comm,
        cgroup=kill.task_memcg if is_victim else None,
    )


def _limit(kill: LoggedKill) -> Limit | None:
    cgroup, usage = kill.context.oom_memcg, kill.context.usage
    if cgroup is None:
        return None
    is_limited = usage is not None and usage.limit_kib < _NO_LIMIT_KIB
    return Limit(
        cgroup=cgroup,
        owner=limit_owner(cgroup),
        limit_bytes=usage.limit_kib * _KIB if usage and is_limited else None,
        usage_bytes=usage.usage_kib * _KIB if usage else None,
        certain=True,
    )


def _workload(kill: LoggedKill) -> Workload:
    if kill.task_memcg is not None:
        return workload_of(kill.task_memcg)
    if kill.group is not None and limit_owner(kill.group) in _WHOLE:
        return workload_of(kill.group)
    return _UNKNOWN


def _bytes(size_kib: int | None) -> int | None:
    return None if size_kib is None else size_kib * _KIB

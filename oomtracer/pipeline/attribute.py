"""``OomKill`` to ``OomReport``: scope, limit, incident and workload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from oomtracer.cgroups import is_selftest, workload_of
from oomtracer.events import OomKill, OomReport, Outcome, Scope, Workload, WorkloadKind
from oomtracer.kernel.clock import wall_clock
from oomtracer.pipeline.incident import Incident, Incidents, Said, group_of
from oomtracer.pipeline.limit import find_limit
from oomtracer.pipeline.scope import functions, is_group_member, scope_of, without_tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from oomtracer.events import Limit


# Of a process whose cgroup is not known nothing is claimed.
_UNKNOWN = Workload(kind=WorkloadKind.HOST, resolved=False)


class Symbols(Protocol):
    """Kernel addresses to ``symbol+0x1a``."""

    def name(self, address: int) -> str | None:
        """The symbol that an address is in, or None."""


class Attributor:
    """Makes a report of each kill, in the order of the kernel. Never raises for what a pod controls."""

    def __init__(
        self,
        *,
        boot_id: str,
        node: str,
        symbols: Symbols,
        memory_nodes: int | None,
        wall_clock: Callable[[int], str] = wall_clock,
    ) -> None:
        self._boot_id = boot_id
        self._node = node
        self.symbols = symbols
        self._memory_nodes = memory_nodes
        self._wall_clock = wall_clock
        self._incidents = Incidents()

    def report(self, kill: OomKill) -> OomReport:
        """The report of one killed process."""
        victim = kill.victim
        report_id = f"{self._boot_id}:{victim.pid}:{victim.start_time_ns}"
        frames = [self.symbols.name(address) for address in kill.stack]
        names = functions(frames)
        member = is_group_member(names)
        known = self._incidents.join(kill) if member or kill.shared_memory else None
        said = known.said if known else Said.of(kill)
        scope, sysrq = scope_of(
            names, constraint=said.constraint, order=said.order, memory_nodes=self._memory_nodes
        )
        incident = known or self._open(kill, report_id, scope)
        workload = _workload(victim.cgroup, kill.unified_cgroup) or _UNKNOWN
        return OomReport(
            id=report_id,
            time=self._wall_clock(kill.boot_time_ns),
            boot_time_ns=kill.boot_time_ns,
            node=self._node,
            source=said.source,
            outcome=kill.outcome,
            selftest=is_selftest(victim.cgroup or "/"),
            scope=scope,
            sysrq=sysrq,
            victim=victim,
            trigger=None if sysrq else kill.trigger,
            trigger_workload=None if sysrq else _trigger_workload(kill, workload),
            limit=incident.limit,
            levels=kill.levels,
            group=None if kill.shared_memory else group_of(incident, member=member),
            incident=incident.id,
            order=said.order,
            gfp_mask=said.gfp_mask,
            kernel_stack=without_tracing(frames) if any(frames) else None,
            workload=workload,
            init_died=_init_died(kill, workload),
            shared_memory=kill.shared_memory,
        )

    def forget_incidents(self) -> None:
        """Records are missing: whoever follows may be of a run whose first victim is among them."""
        self._incidents = Incidents()

    def _open(self, kill: OomKill, report_id: str, scope: Scope) -> Incident:
        limit, group = _limit_and_group(kill, scope)
        return self._incidents.open(kill, report_id, limit, group=group)


def _limit_and_group(kill: OomKill, scope: Scope) -> tuple[Limit | None, bool]:
    """The limit, and whether the kernel kills a whole ``memory.oom.group`` up to that limit's cgroup."""
    found = find_limit(kill) if scope is Scope.MEMCG else None
    # By the kernel's word the limit may be below all recorded levels: it looks for groups no higher than that.
    is_below = found is None and scope is Scope.MEMCG and kill.constraint is not None
    inside = kill.levels[: found[1] + 1] if found else () if is_below else kill.levels
    return (found[0] if found else None), (
        # One that is only marked is not followed by its group.
        kill.outcome is not Outcome.ALREADY_EXITING and any(level.oom_group for level in inside)
    )


def _workload(cgroup: str | None, unified: str | None = None) -> Workload | None:
    return workload_of(cgroup, unified) if cgroup is not None else None


def _trigger_workload(kill: OomKill, victims: Workload) -> Workload | None:
    # Of the victim alone the record has the cgroup v2 path too, where that is another one.
    return victims if kill.trigger.pid == kill.victim.pid else _workload(kill.trigger.cgroup)


def _init_died(kill: OomKill, workload: Workload) -> bool | None:
    """Whether pid 1 of a nested pid namespace died: None on the host, where there is only one."""
    if not kill.pid_namespace_level or workload.kind is WorkloadKind.HOST:
        return None
    return kill.victim.container_pid == 1

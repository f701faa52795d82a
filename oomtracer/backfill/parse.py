"""Lines of the kernel's log to kills: a pure function, total on any text.

``oom_lock`` lets one OOM kill happen at a time, so what is between a dump's first line and the next ``Killed
process`` is of one invocation, whatever other CPUs print in between. A kill without a dump (they are
rate-limited), and whatever can be read in two ways, leaves unknown what it does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from oomtracer.backfill.grammar import (
    GroupStart,
    Invoked,
    Killed,
    Row,
    Running,
    Spared,
    StatsOf,
    Summary,
    Usage,
    said_by,
)
from oomtracer.backfill.names import Names, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oomtracer.backfill.grammar import Said
    from oomtracer.backfill.line import LogLine

_Task = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one invocation's dump says; None where it does not, or not clearly."""

    constraint: str | None = None
    """The kernel's name without ``CONSTRAINT_``: NONE, CPUSET, MEMORY_POLICY, MEMCG."""
    oom_memcg: str | None = None
    usage: Usage | None = None
    """Of memory, or of memory and swap where that is nearer to its limit (cgroup v1)."""
    order: int | None = None
    gfp_mask: int | None = None
    trigger_comm: str | None = None
    trigger_tid: int | None = None
    trigger_pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedKill:
    """One process that the log says was killed."""

    killed: Killed
    pid: int
    """The process: by the dump's table, else the thread that the log names (nearly always the leader)."""
    context: Context
    task_memcg: str | None = None
    incident: tuple[int, int]
    """Process and log time of the invocation's first kill."""
    group: str | None = None
    """The cgroup that was killed as a whole (``memory.oom.group``)."""
    group_index: int | None = None


def parse(lines: Iterable[LogLine]) -> list[LoggedKill]:
    """The kills that the lines tell, in their order. Never raises."""
    parser = _Parser()
    last: int | None = None
    for line in lines:
        if last is not None and line.sequence is not None and line.sequence != last + 1:
            parser.forget()
        last = line.sequence
        if said := said_by(line):
            parser.take(said)
    return parser.kills


@dataclass(slots=True)
class _Dump:
    """Lines since an invocation began. What is told twice with different values is told by nobody."""

    invoked: Invoked | None = None
    running: set[_Task] = field(default_factory=set)
    usages: set[Usage] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    rows: dict[int, int] = field(default_factory=dict)
    summary: Summary | None = None

    def add(self, said: Running | Usage | StatsOf | Row | Summary) -> None:
        match said:
            case Running():
                self.running.add((said.tid, said.rest))
            case Usage():
                self.usages.add(said)
            case StatsOf():
                self.paths.add(said.path)
            case Row():
                self.rows[said.tid] = said.tgid
            case Summary():
                self.summary = said


class _Parser:
    def __init__(self) -> None:
        self.kills: list[LoggedKill] = []
        self.forget()

    def forget(self) -> None:
        """Lines are missing: what follows may be of another invocation."""
        self._dump: _Dump | None = None  # of the kill that is about to be told
        self._told: _Dump | None = None  # of the last kill that was told
        self._can_lead_group = False
        self._group: str | None = None
        self._members = 0  # told so far, the chosen one included
        self._chosen: _Task | None = None  # of the last group: it is killed once more among its members

    def take(self, said: Said) -> None:
        match said:
            case Invoked():
                self.forget()
                self._dump = _Dump(said)
            case Killed():
                self._kill(said)
            case GroupStart():
                self._start_group(said.path)
            case Spared():
                self._dump, self._can_lead_group = None, False
            case Summary():
                self._dump = self._dump or _Dump()
                self._dump.add(said)
            case _ if self._dump:
                self._dump.add(said)

    def _kill(self, killed: Killed) -> None:
        if self._dump is None and self._chosen == (killed.tid, killed.comm):
            self._chosen = None
            return
        if self._dump is None and self._group is not None and self._is_member(killed):
            self._add_member(killed)
            return
        dump, self._dump = self._dump or _Dump(), None
        self._told, self._can_lead_group, self._group = dump, True, None
        self.kills.append(_chosen(killed, dump))

    def _start_group(self, path: str) -> None:
        self._group = self._chosen = None
        if self._can_lead_group:
            first = self.kills[-1]
            self.kills[-1] = replace(first, group=path, group_index=0)
            self._group, self._members = path, 1
            self._chosen = (first.killed.tid, first.killed.comm)
        self._can_lead_group = False

    def _is_member(self, killed: Killed) -> bool:
        """Whether it must be one: the dump lists it, and everything the dump lists is in the group.

        Of another, the next invocation, without a dump of its own, could have killed it as well.
        """
        assert self._told is not None
        first = self.kills[-self._members]
        is_listed = killed.tid in self._told.rows
        return killed.is_memcg and is_listed and first.context.oom_memcg == self._group

    def _add_member(self, killed: Killed) -> None:
        assert self._told is not None
        first = self.kills[-self._members]
        member = LoggedKill(
            killed=killed,
            pid=self._told.rows[killed.tid],
            context=first.context,
            incident=first.incident,
            group=self._group,
            group_index=self._members,
        )
        self.kills.append(member)
        self._members += 1


def _chosen(killed: Killed, dump: _Dump) -> LoggedKill:
    pid = dump.rows.get(killed.tid, killed.tid)
    summary = dump.summary
    if summary and summary.uid == (summary.uid if killed.uid is None else killed.uid):
        pid = summary.pid
    else:
        summary = None
    names = names_of(summary.names, lambda names: _fits(names, killed, dump)) if summary else None
    return LoggedKill(
        killed=killed,
        pid=pid,
        context=_context(dump, summary, names),
        task_memcg=names.task_memcg if names else None,
        incident=(pid, killed.time_us),
    )


def _fits(names: Names, killed: Killed, dump: _Dump) -> bool:
    assert dump.summary is not None
    is_memcg = names.oom_memcg is not None
    return (
        is_memcg == killed.is_memcg == (dump.summary.constraint == "MEMCG")
        # another thread of the process may have another name
        and (dump.summary.pid != killed.tid or names.comm == killed.comm)
        and (not is_memcg or not dump.paths or dump.paths == {names.oom_memcg})
    )


def _context(dump: _Dump, summary: Summary | None, names: Names | None) -> Context:
    invoked = dump.invoked
    tid = _trigger_tid(dump)
    of_summary = summary.pid if summary and summary.pid == tid else None
    return Context(
        constraint=summary.constraint if summary else None,
        oom_memcg=names.oom_memcg if names else None,
        usage=_nearest([usage for usage in dump.usages if _is_only(usage, dump.usages)]),
        order=invoked.order if invoked else None,
        gfp_mask=invoked.gfp_mask if invoked else None,
        trigger_comm=invoked.comm if invoked else None,
        trigger_tid=tid,
        trigger_pid=of_summary if tid is None else dump.rows.get(tid, of_summary),
    )


def _trigger_tid(dump: _Dump) -> int | None:
    if dump.invoked is None:
        return None
    # Another CPU may print a stack of its own meanwhile, of another task.
    tids = {tid for tid, rest in dump.running if rest.startswith(f"{dump.invoked.comm} ")}
    return tids.pop() if len(tids) == 1 else None


def _is_only(usage: Usage, usages: set[Usage]) -> bool:
    return [other.includes_swap for other in usages].count(usage.includes_swap) == 1


def _nearest(usages: list[Usage]) -> Usage | None:
    return min(
        usages, key=lambda usage: (usage.limit_kib - usage.usage_kib, usage.includes_swap), default=None
    )

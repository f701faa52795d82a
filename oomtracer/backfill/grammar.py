"""What the OOM killer prints, line by line. ``said_by`` reads one line and never raises.

A line is believed by what nobody but the kernel can choose: its facility, its level, that it starts what was
printed, and the fixed words at both ends. Command and cgroup names in between can hold anything.

Source: mm/oom_kill.c, mm/memcontrol.c, lib/dump_stack.c from 5.8 to 7.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from oomtracer.backfill.line import LogLine

_ERROR, _WARNING, _INFO = 3, 4, 6
"""Facility 0 with the levels of pr_err(), pr_warn() and pr_info()."""
# The dump prints it as a signed number, the kill as an unsigned one.
_UID_MASK = 0xFFFF_FFFF

_MESSAGE = (
    r"(?P<message>Memory cgroup out of memory|Out of memory(?: \(oom_kill_allocating_task\))?): "
    r"(?:Killed process|OOM victim) (?P<pid>\d{1,10}) \((?P<comm>.{0,15})\) "
)
_KILLED = re.compile(
    _MESSAGE + r"total-vm:(?P<total_vm>\d{1,16})kB, anon-rss:(?P<anon>\d{1,16})kB, "
    r"file-rss:(?P<file>\d{1,16})kB, shmem-rss:(?P<shmem>\d{1,16})kB, "
    # All of it: what others may have printed, as a rule of netfilter may for 127 bytes, is too short for a kill.
    r"UID:(?P<uid>\d{1,10}) pgtables:(?P<page_tables>\d{1,16})kB oom_score_adj:(?P<adj>-?\d{1,4})",
    re.DOTALL,
)
_SPARED = re.compile(_MESSAGE + "is already exiting. Skip killing the task", re.DOTALL)
_INVOKED = re.compile(
    r"(?P<comm>.{0,15}) invoked oom-killer: gfp_mask=(?:0x)?(?P<gfp>[0-9a-f]{1,8})\([^)]*\), "
    r"order=(?P<order>-?\d{1,3}), oom_score_adj=-?\d{1,4}",
    re.DOTALL,
)
_TASK = re.compile(r"CPU: \d+ (?:UID: \d+ )?PID: (?P<tid>\d{1,10}) Comm: (?P<rest>.*)", re.DOTALL)
_USAGE = re.compile(
    r"(?P<counter>memory|memory\+swap): usage (?P<usage>\d{1,20})kB, limit (?P<limit>\d{1,20})kB, failcnt \d+"
)
_STATS = re.compile(r"Memory cgroup stats for (?P<path>/.*):", re.DOTALL)
_ROW = re.compile(r"\[ *(?P<tid>\d{1,10})\] +\d+ +(?P<tgid>\d{1,10}) +\d+ +\d+ .*", re.DOTALL)
_SUMMARY = re.compile(
    r"oom-kill:constraint=CONSTRAINT_(?P<constraint>[A-Z_]+),nodemask=(?:\(null\)|[0-9,-]*),cpuset="
    r"(?P<names>.*),pid=(?P<pid>\d{1,10}),uid=(?P<uid>-?\d{1,10})",
    re.DOTALL,
)
_GROUP = re.compile(r"Tasks in (?P<path>/.*) are going to be killed due to memory\.oom\.group set", re.DOTALL)
# What else is printed between a memory cgroup's usage and the summary: nobody's names.
_NUMBERS = re.compile(
    r"(?:swap|kmem|kmem\.tcp): usage \d+kB, limit \d+kB, failcnt \d+|[a-z][a-z0-9_]{1,39} \d{1,20}|"
    r"Tasks state \(memory values in pages\):|\[ *pid *\][a-z_ ]{1,120}"
)
_NOBODY = "Out of memory and no killable processes..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """One process is killed. This line alone is never left out."""

    time_us: int
    is_memcg: bool
    tid: int
    """The thread that holds the memory: the process's leader, unless that has ended."""
    comm: str
    uid: int | None
    oom_score_adj: int | None
    total_vm_kib: int
    anon_kib: int
    file_kib: int
    shmem_kib: int | None
    page_tables_kib: int | None


@dataclass(frozen=True, slots=True)
class Spared:
    """The chosen one is exiting, or there is nobody to choose: no kill follows."""


@dataclass(frozen=True, slots=True)
class Invoked:
    """A dump starts; ten in five seconds do (``oom_rs``), and some kills have none."""

    comm: str
    gfp_mask: int
    order: int


@dataclass(frozen=True, slots=True)
class Running:
    """The task that printed the stack, of any dump of any CPU; ``rest`` starts with its comm."""

    tid: int
    rest: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the memory cgroup whose limit was hit."""

    includes_swap: bool
    usage_kib: int
    limit_kib: int


@dataclass(frozen=True, slots=True)
class StatsOf:
    """The path of that cgroup."""

    path: str


@dataclass(frozen=True, slots=True)
class Row:
    """A process that could have been chosen."""

    tid: int
    tgid: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The last line of a dump; ``names`` is read by ``names.py``. ``pid`` is a process's (its leader's)."""

    constraint: str
    names: str
    pid: int
    uid: int


@dataclass(frozen=True, slots=True)
class GroupStart:
    """The rest of a ``memory.oom.group`` follows, the chosen process once more among them."""

    path: str


Said = Killed | Spared | Invoked | Running | Usage | StatsOf | Row | Summary | GroupStart


def said_by(line: LogLine) -> Said | None:
    """What a line says of an OOM kill; None for every other line."""
    if not line.is_fragment and (decisive := _DECISIVE.get(line.priority)):
        for pattern, make in decisive:
            if match := pattern.fullmatch(line.text):
                return make(match, line)
    return _detail(line) if line.priority >> 3 == 0 else None


def is_decisive(line: LogLine) -> bool:
    """Whether a line is one that is believed only from the start of a record."""
    return isinstance(said_by(line), Killed | Spared | Invoked | Summary | GroupStart)


def is_whole(line: LogLine) -> bool:
    """Whether the kernel ends this line of a kill or dump here.

    A command's name at the end of a line can have a line break, but no room for one of the decisive lines.
    """
    return said_by(line) is not None or (line.priority == _INFO and _NUMBERS.fullmatch(line.text) is not None)


def _detail(line: LogLine) -> Said | None:
    """Lines that only add to a dump, or end it. The first three may come from a fragment: they never make a report."""
    text = line.text
    if match := _ROW.fullmatch(text):
        return Row(int(match["tid"]), int(match["tgid"]))
    if match := _TASK.fullmatch(text):
        return Running(int(match["tid"]), match["rest"])
    if match := _USAGE.fullmatch(text):
        return Usage(match["counter"] != "memory", int(match["usage"]), int(match["limit"]))
    if line.is_fragment:
        return None
    if line.priority == _INFO and (match := _STATS.fullmatch(text)):
        return StatsOf(match["path"])
    return Spared() if line.priority == _WARNING and text == _NOBODY else None


def _killed(match: re.Match[str], line: LogLine) -> Killed:
    return Killed(
        time_us=line.time_us,
        is_memcg=match["message"].startswith("Memory cgroup"),
        tid=int(match["pid"]),
        comm=match["comm"],
        uid=_number(match["uid"]),
        oom_score_adj=_number(match["adj"]),
        total_vm_kib=int(match["total_vm"]),
        anon_kib=int(match["anon"]),
        file_kib=int(match["file"]),
        shmem_kib=_number(match["shmem"]),
        page_tables_kib=_number(match["page_tables"]),
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _spared(_: re.Match[str], __: LogLine) -> Spared:
    return Spared()


def _invoked(match: re.Match[str], _: LogLine) -> Invoked:
    return Invoked(match["comm"], int(match["gfp"], 16), int(match["order"]))


def _summary(match: re.Match[str], _: LogLine) -> Summary:
    return Summary(match["constraint"], match["names"], int(match["pid"]), int(match["uid"]) & _UID_MASK)


def _group_start(match: re.Match[str], _: LogLine) -> GroupStart:
    return GroupStart(match["path"])


_DECISIVE: dict[int, list[tuple[re.Pattern[str], Callable[[re.Match[str], LogLine], Said]]]] = {
    _ERROR: [(_KILLED, _killed)],
    _WARNING: [(_INVOKED, _invoked)],
    _INFO: [(_SUMMARY, _summary), (_GROUP, _group_start), (_SPARED, _spared)],
}

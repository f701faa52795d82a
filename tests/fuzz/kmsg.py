"""The kernel's log: ``oomtracer.backfill``.

An input is ``k`` and records of ``/dev/kmsg`` between NULs, or ``s`` and what syslog(2) gives.
"""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from oomtracer.backfill import LoggedKill, LogLine, LogRead, grammar, parse, recover
from oomtracer.backfill.grammar import Killed, said_by
from oomtracer.backfill.line import kmsg_line, syslog_lines
from oomtracer.sinks.console import block
from oomtracer.sinks.jsonl import json_line
from tests.unit.builders import BOOT_ID, TIME, unfit

from .mutate import mutated, noise

_UNPRINTABLE = re.compile(rb"[^ -\[\]-~]")
_GFP = "gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
_SIZES = "total-vm:82032kB, anon-rss:61184kB, file-rss:4kB, shmem-rss:0kB, UID:1000 pgtables:192kB oom_score_adj:-997"
_MEMCG = "Memory cgroup out of memory"
_COMMS = (
    "shop",
    "",
    "a b",
    "x" * 15,
    "a) total-vm:1kB",
    ",task=",
    "é",
    "\x1b[2J",
    "oom_memcg=/",
    "a\nb",
    "]: ",
    "\\x0a",
)
_PATHS = (
    *("/", "/a", "/a/b", "/system.slice/shop.service", "/a,task=x", "/kubepods/burstable/pod1/c", "/a\n/b"),
    *("/a,task_memcg=/a", "/a,mems_allowed=0,oom_memcg=/x"),
)
_TOKENS = (
    *(
        b"\0",
        b"\n",
        b",",
        b";",
        b" ",
        b"\\x0a",
        b"\\x1b",
        b"\\",
        b"-",
        b"c",
        b"+",
        b"6,1,1,-;",
        b"<6>[    1.000000] ",
    ),
    *(b"Killed process 1 (", b"OOM victim ", b") total-vm:", b"kB", b"invoked oom-killer: ", b",pid=1,uid=0"),
    *(b",task=", b",task_memcg=/", b"oom_memcg=/", b"global_oom", b",mems_allowed=0,", b"9" * 30, b"\xff"),
    *(
        b"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,",
        b" are going to be killed due to memory.oom.group set",
    ),
)


def generate(random: Random) -> bytes:
    """Make the lines of some kills, whole or in part, with names that were chosen to mislead."""
    if random.random() < 0.03:
        return random.choice((b"k", b"s")) + noise(random, 4096)
    lines = [line for _ in range(random.choice((1, 1, 2, 3))) for line in _kill(random)]
    if random.random() < 0.4:
        lines = [line for line in lines if random.random() < 0.85]
    if random.random() < 0.1:
        random.shuffle(lines)
    data = _kmsg(random, lines) if random.random() < 0.6 else _syslog(random, lines)
    return data[:1] + mutated(random, data[1:], _TOKENS) if random.random() < 0.5 else data


def check(data: bytes) -> None:
    """Kills or none, the same each time, never more than lines that only the kernel can write."""
    lines = _lines(data)
    kills = parse(lines)
    assert parse(iter(lines)) == kills
    said = [each for line in lines if isinstance(each := said_by(line), Killed)]
    in_order = iter(said)
    assert all(kill.killed in in_order for kill in kills)
    for kill in kills:
        _check_kill(kill)
    _check_foreign_lines(lines)
    _check_reports(kills)


def _lines(data: bytes) -> list[LogLine]:
    if data[:1] == b"s":
        return list(syslog_lines(data[1:], grammar))
    return [line for record in data[1:].split(b"\0") if (line := kmsg_line(record))]


def _check_kill(kill: LoggedKill) -> None:
    assert len(kill.killed.comm) <= 15
    assert (kill.group is None) == (kill.group_index is None)
    assert kill.task_memcg is None or kill.task_memcg.startswith("/")
    oom_memcg = kill.context.oom_memcg
    assert oom_memcg is None or kill.killed.is_memcg
    if oom_memcg is not None and kill.task_memcg is not None:
        assert oom_memcg in ("/", kill.task_memcg) or kill.task_memcg.startswith(f"{oom_memcg}/")


def _check_foreign_lines(lines: list[LogLine]) -> None:
    """No kill is made of what a writer in user space can claim, another facility, or of a later part of a record."""
    claimed = [
        replace(line, priority=line.priority | 8 * (i % 2), is_fragment=i % 2 == 0)
        for i, line in enumerate(lines)
    ]
    assert not parse(claimed)


def _check_reports(kills: list[LoggedKill]) -> None:
    log = LogRead(
        kills=tuple(kills), source="kmsg", records=len(kills), overwritten=0, suspended_ns=0, fault=""
    )
    found = recover(log, [], boot_id=BOOT_ID, node="n", before_boot_time_ns=2**127, wall_clock=lambda _: TIME)
    assert (len(found.reports), found.matched, found.later) == (len(kills), 0, 0)
    for report in found.reports:
        assert json_line(report).count(b"\n") == 1
        assert not unfit(block(report).replace("\n", ""))


def _kill(random: Random) -> list[tuple[int, str]]:
    pid, comm, top = random.randrange(1, 40), random.choice(_COMMS)[:15], random.choice(_PATHS)
    task = f"{top.rstrip('/')}{random.choice(('', '/c'))}" or "/"
    is_memcg = random.random() < 0.7
    constraint = "MEMCG" if is_memcg else random.choice(("NONE", "CPUSET", "MEMORY_POLICY"))
    limit = f"oom_memcg={top}" if is_memcg else "global_oom"
    usage = "memory: usage 65536kB, limit 65536kB, failcnt 7"
    cpuset = random.choice(("/", "c", "a,b"))
    summary = (
        f"oom-kill:constraint=CONSTRAINT_{constraint},nodemask=(null),cpuset={cpuset},mems_allowed=0,"
        f"{limit},task_memcg={task},task={comm},pid={pid},uid=1000"
    )
    lines = [
        (4, f"{random.choice(_COMMS)[:15]} invoked oom-killer: {_GFP}"),
        (4, f"CPU: 1 PID: {pid} Comm: {comm} Not tainted 6.1.0 #1"),
        *([(6, usage), (6, f"Memory cgroup stats for {top}:")] if is_memcg else []),
        (6, f"[{pid:7}]  1000 {pid:5}    20508    15297   196608        0             0 {comm}"),
        (6, summary),
        (3, f"{_MEMCG if is_memcg else 'Out of memory'}: Killed process {pid} ({comm}) {_SIZES}"),
    ]
    if random.random() < 0.3:
        lines.append((6, f"Tasks in {top} are going to be killed due to memory.oom.group set"))
        lines += [(3, f"{_MEMCG}: Killed process {pid + i} ({comm}) {_SIZES}") for i in range(3)]
    return lines


def _kmsg(random: Random, lines: list[tuple[int, str]]) -> bytes:
    sequence, records = random.choice((0, 1, 10**19)), []
    for level, text in lines:
        sequence += random.choice((1, 1, 1, 1, 1, 1, 1, 3))
        escaped = _UNPRINTABLE.sub(lambda match: b"\\x%02x" % match[0][0], text.encode())
        flags = random.choice(("-", "-", "-", "c", "-,caller=T12"))
        records.append(
            f"{level},{sequence},{sequence * 1000},{flags};".encode()
            + escaped
            + random.choice((b"", b"\n A=b\n"))
        )
    return b"k" + b"\0".join(records)


def _syslog(random: Random, lines: list[tuple[int, str]]) -> bytes:
    caller, time_us, printed = random.choice(("", "[   T12]", "[C1]")), 10**6, []
    for level, text in lines:
        time_us += random.choice((0, 0, 1, 7))
        prefix = f"<{level}>[{time_us // 10**6:5}.{time_us % 10**6:06}]{caller} "
        printed.append("\n".join(prefix + each for each in text.split("\n")))
    return b"s" + "\n".join(printed).encode()

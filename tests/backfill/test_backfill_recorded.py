"""Logs of other kernels, as guests of ``make vm`` printed them; shortened by stacks, statistics and bystanders.

``dmesg`` leaves out the levels: they are put back here, as the kernel's sources have them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from oomtracer.backfill import LoggedKill, LogLine, grammar, parse
from oomtracer.backfill.line import syslog_lines

from . import printed

RECORDED = Path(__file__).with_name("recorded")
POD = (
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice"
    f"/cri-containerd-{'5' * 64}.scope"
)
TEST = "/oomtracer-test"


def lines_of(name: str) -> list[LogLine]:
    """A recorded log, with the levels of pr_err, pr_warn and pr_info."""
    lines = []
    for text in (RECORDED / f"{name}.txt").read_text().splitlines():
        match = re.fullmatch(r"\[ *(\d+)\.(\d{6})\] (.*)", text)
        assert match
        lines.append(LogLine(time_us=int(match[1] + match[2]), priority=_level(match[3]), text=match[3]))
    return lines


def _level(text: str) -> int:
    if ": Killed process " in text:
        return 3
    return 4 if " invoked oom-killer: " in text or text.startswith(("CPU: ", "Call Trace:", " ")) else 6


@pytest.mark.parametrize(
    ("name", "constraint", "pid", "task_memcg", "oom_memcg", "trigger", "order", "usage"),
    [
        ("5.10-v2-global", "NONE", 704, POD, None, 704, 0, None),
        ("7.3-v2-global", "NONE", 309, POD, None, 309, 0, None),
        ("5.10-v2-sysrq", "NONE", 710, TEST, None, 513, -1, None),
        ("7.3-v2-sysrq", "NONE", 315, TEST, None, 26, -1, None),
        ("6.1-v1-memcg", "MEMCG", 120, f"{TEST}/holder", TEST, 122, 0, (49152, 49152)),
        ("7.3-v2-cpuset", "CPUSET", 127, f"{TEST}/cpuset", None, 127, 0, None),
        ("5.10-v2-mempolicy", "MEMORY_POLICY", 108, f"{TEST}/policy", None, 108, 0, None),
        ("5.10-v2-group", "MEMCG", 115, TEST, TEST, 115, 0, (49152, 49152)),
        ("7.3-v2-group", "MEMCG", 133, TEST, TEST, 133, 0, (49152, 49152)),
    ],
)
def test_what_kernels_really_print(name, constraint, pid, task_memcg, oom_memcg, *, trigger, order, usage):
    """Everything that these lines say is found, of every kind of kill, cgroup v1 and v2, old and new."""
    kill: LoggedKill = parse(lines_of(name))[0]
    assert (kill.pid, kill.killed.tid, kill.killed.comm, kill.killed.uid) == (pid, pid, "victim", 0)
    assert (kill.context.constraint, kill.context.oom_memcg) == (constraint, oom_memcg)
    assert (kill.task_memcg, kill.context.trigger_tid, kill.context.order) == (task_memcg, trigger, order)
    found = kill.context.usage
    assert (found and (found.usage_kib, found.limit_kib)) == usage


@pytest.mark.parametrize("name", ["5.10-v2-group", "7.3-v2-group"])
def test_groups_of_real_kernels(name):
    """Six lines, five processes, one incident."""
    lines = lines_of(name)
    assert sum(line.priority == 3 for line in lines) == 6
    kills = parse(lines)
    assert [kill.group_index for kill in kills] == [0, 1, 2, 3, 4]
    assert {kill.incident for kill in kills} == {(kills[0].pid, kills[0].killed.time_us)}


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.txt")), ids=lambda path: path.stem)
def test_the_text_of_a_clock_that_stands_still(path):
    """The same kills, if all of it had happened in one microsecond; of a memory cgroup's also the cgroups."""
    lines = lines_of(path.stem)
    still = [replace(line, time_us=lines[-1].time_us) for line in lines]
    told = parse(syslog_lines(printed.syslog(still), grammar))
    kills = parse(still)
    assert [kill.killed for kill in told] == [kill.killed for kill in kills]
    if kills[0].context.constraint == "MEMCG":
        assert told[0].task_memcg == kills[0].task_memcg

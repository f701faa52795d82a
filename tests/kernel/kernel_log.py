"""The kernel's own log as the oracle: what it says of each OOM kill, read from /dev/kmsg."""

from __future__ import annotations

import os
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OOM_KILL = re.compile(
    rb"oom-kill:constraint=(?P<constraint>\w+),.*?"
    rb"(?:global_oom|oom_memcg=(?P<oom_memcg>[^,]*)),task_memcg=(?P<task_memcg>[^,]*),"
    rb"task=(?P<comm>.*),pid=(?P<pid>\d+),uid=(?P<uid>\d+)$",
    re.DOTALL,
)
_KILLED = re.compile(
    rb"Killed process (?P<pid>\d+) \((?P<comm>.*)\) total-vm:(?P<total_vm>\d+)kB, anon-rss:(?P<anon>\d+)kB, "
    rb"file-rss:(?P<file>\d+)kB, shmem-rss:(?P<shmem>\d+)kB, UID:(?P<uid>\d+) pgtables:(?P<pgtables>\d+)kB "
    rb"oom_score_adj:(?P<adj>-?\d+)$",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class LoggedKill:
    """One kill as the two lines of the log tell it; the first line is rate-limited and may be missing."""

    tid: int
    comm: bytes
    uid: int
    total_vm_kib: int
    anon_kib: int
    file_kib: int
    shmem_kib: int
    page_tables_kib: int
    oom_score_adj: int
    constraint: str | None
    oom_memcg: str | None
    task_memcg: str | None


class KernelLog:
    """Follows the log from the moment it is opened."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._constraints: dict[int, re.Match[bytes]] = {}
        self._kills: dict[int, LoggedKill] = {}
        self._new: list[int] = []

    def close(self) -> None:
        """Stop following."""
        os.close(self._fd)

    def kill_of(self, tid: int, deadline_seconds: float = 10) -> LoggedKill:
        """What the log says of the kill of this thread; waits for the lines."""
        deadline = time.monotonic() + deadline_seconds
        while tid not in self._kills:
            left = deadline - time.monotonic()
            assert left > 0, f"the kernel log tells no kill of {tid}"
            select.select([self._fd], [], [], left)
            self._read()
        return self._kills[tid]

    def new_pids(self) -> list[int]:
        """The victims of all kills that the log tells and that were not asked for here before."""
        self._read()
        new, self._new = self._new, []
        return new

    def paced(self, kill: Callable[[], int]) -> LoggedKill:
        """Make kills until the log tells one with its cgroups: 10 in 5 seconds are told so, machine-wide."""
        deadline = time.monotonic() + 30
        while (logged := self.kill_of(kill())).constraint is None:
            assert time.monotonic() < deadline, "the kernel log tells no cgroups"
            select.select([], [], [], 0.5)
        return logged

    def _read(self) -> None:
        while True:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                return
            except BrokenPipeError:  # records were overwritten before they were read: go on with the next
                continue
            self._take(
                _ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), record.partition(b";")[2].split(b"\n")[0])
            )

    def _take(self, line: bytes) -> None:
        if match := _OOM_KILL.search(line):
            self._constraints[int(match["pid"])] = match
        elif match := _KILLED.search(line):
            self._new.append(int(match["pid"]))
            self._kills[int(match["pid"])] = _kill(match, self._constraints.pop(int(match["pid"]), None))


def _kill(killed: re.Match[bytes], oom: re.Match[bytes] | None) -> LoggedKill:
    return LoggedKill(
        tid=int(killed["pid"]),
        comm=killed["comm"],
        uid=int(killed["uid"]),
        total_vm_kib=int(killed["total_vm"]),
        anon_kib=int(killed["anon"]),
        file_kib=int(killed["file"]),
        shmem_kib=int(killed["shmem"]),
        page_tables_kib=int(killed["pgtables"]),
        oom_score_adj=int(killed["adj"]),
        constraint=oom["constraint"].decode() if oom else None,
        oom_memcg=oom["oom_memcg"].decode() if oom and oom["oom_memcg"] is not None else None,
        task_memcg=oom["task_memcg"].decode() if oom else None,
    )

"""What the kernel says of another process: memory, processor time, context switches."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Mapped once to be read and, the data a second time right behind itself, so that no record is ever split.
_RING = "anon_inode:bpf-map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one process (``/proc/PID/smaps``).

    ``pss``: a page that N processes map counts 1/N; it falls when more of them run, this program among them.
    ``uss``: pages that nobody else maps. ``ring``: the part of pss that is the mapped ring buffer.
    """

    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    anonymous_bytes: int
    ring_bytes: int

    @property
    def alone_bytes(self) -> int:
        """What pss would be if nobody else mapped the same files, as in a container: rss counts the ring twice."""
        return self.rss_bytes - self.ring_bytes


def memory(pid: int) -> Memory:
    """Memory of a process now."""
    rollup = _kilobytes((PROC / str(pid) / "smaps_rollup").read_text())
    return Memory(
        rss_bytes=rollup["Rss"],
        pss_bytes=rollup["Pss"],
        uss_bytes=rollup["Private_Clean"] + rollup["Private_Dirty"],
        anonymous_bytes=rollup["Anonymous"],
        ring_bytes=_ring_bytes((PROC / str(pid) / "smaps").read_text()),
    )


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process ever had resident (VmHWM)."""
    return _kilobytes((PROC / str(pid) / "status").read_text())["VmHWM"]


def _kilobytes(text: str) -> dict[str, int]:
    return {name: int(size) << 10 for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def _ring_bytes(smaps: str) -> int:
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.MULTILINE)
    return sum(_kilobytes(mapping)["Pss"] for mapping in mappings if _RING in mapping.partition("\n")[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads: utime + stime of ``/proc/PID/stat``, to the nanosecond."""
    # clock_getcpuclockid(3): MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of include/linux/posix-timers.h.
    return time.clock_gettime(~pid << 3 | 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Context switches of the main thread so far. ``voluntary`` ones end a wait: each is a wake-up."""

    voluntary: int
    involuntary: int
    threads: int


def switches(pid: int) -> Switches:
    """Context switches of a process, and how many threads it has now."""
    status = (PROC / str(pid) / "status").read_text()
    found = dict(re.findall(r"^(\w*ctxt_switches|Threads):\s+(\d+)$", status, re.MULTILINE))
    return Switches(
        voluntary=int(found["voluntary_ctxt_switches"]),
        involuntary=int(found["nonvoluntary_ctxt_switches"]),
        threads=int(found["Threads"]),
    )

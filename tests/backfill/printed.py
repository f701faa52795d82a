"""The kernel's lines of an OOM kill, written as its sources format them (5.8 to 7.3), for any names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oomtracer.backfill import LogLine

ERROR, WARNING, INFO = 3, 4, 6
NO_LIMIT_KIB = 9007199254740988
"""PAGE_COUNTER_MAX, with pages of 4 KiB."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What one invocation prints."""

    pid: int = 4242
    comm: str = "shop"
    uid: int = 1000
    tid: int = 0
    """Another thread than the leader, where that has ended."""
    trigger: int = 4242
    trigger_comm: str = "shop"
    is_trigger_listed: bool = True
    constraint: str = "MEMCG"
    cpuset: str = "/"
    oom_memcg: str | None = "/shop.slice"
    task_memcg: str = "/shop.slice/shop.service"
    usage_kib: int = 65536
    limit_kib: int = 65536
    swap_usage_kib: int = 65536
    swap_limit_kib: int = NO_LIMIT_KIB
    order: int = 0
    gfp_mask: int = 0xCC0
    message: str = "Memory cgroup out of memory"
    others: tuple[tuple[int, str], ...] = ()
    time_us: int = 99_000_000


def line(priority: int, text: str, time_us: int = 99_000_000) -> LogLine:
    """One record of the log."""
    return LogLine(time_us=time_us, priority=priority, text=text)


def killed(kill: Kill, **more: object) -> LogLine:
    """The line that is never left out."""
    tid = kill.tid or kill.pid
    return line(
        ERROR,
        f"{kill.message}: Killed process {tid} ({kill.comm}) total-vm:66780kB, anon-rss:16384kB, "
        f"file-rss:592kB, shmem-rss:4kB, UID:{kill.uid} pgtables:68kB oom_score_adj:-998",
        kill.time_us,
    )


def spared(kill: Kill) -> LogLine:
    """The chosen one has no memory any more."""
    text = f"{kill.message}: OOM victim {kill.pid} ({kill.comm}) is already exiting. Skip killing the task"
    return line(INFO, text)


def group(path: str) -> LogLine:
    """The members of a ``memory.oom.group`` follow."""
    return line(INFO, f"Tasks in {path} are going to be killed due to memory.oom.group set")


def summary(kill: Kill) -> LogLine:
    """The last line of a dump."""
    limit = "global_oom" if kill.oom_memcg is None else f"oom_memcg={kill.oom_memcg}"
    uid = kill.uid - (1 << 32) if kill.uid >= 1 << 31 else kill.uid
    return line(
        INFO,
        f"oom-kill:constraint=CONSTRAINT_{kill.constraint},nodemask=(null),cpuset={kill.cpuset},"
        f"mems_allowed=0-1,{limit},task_memcg={kill.task_memcg},task={kill.comm},pid={kill.pid},uid={uid}",
    )


def dump(kill: Kill) -> list[LogLine]:
    """What is printed ten times in five seconds."""
    lines = [
        line(
            WARNING,
            f"{kill.trigger_comm} invoked oom-killer: gfp_mask={kill.gfp_mask:#x}(GFP_KERNEL|__GFP_ZERO), "
            f"order={kill.order}, oom_score_adj=0",
        ),
        line(WARNING, f"CPU: 1 PID: {kill.trigger} Comm: {kill.trigger_comm} Not tainted 6.1.0-1-amd64 #1"),
        line(WARNING, "Call Trace:"),
        line(WARNING, " dump_header+0x4a/0x213"),
    ]
    if kill.oom_memcg is not None:
        lines += [
            line(INFO, f"memory: usage {kill.usage_kib}kB, limit {kill.limit_kib}kB, failcnt 22"),
            line(
                INFO,
                f"memory+swap: usage {kill.swap_usage_kib}kB, limit {kill.swap_limit_kib}kB, failcnt 0",
            ),
            line(INFO, f"Memory cgroup stats for {kill.oom_memcg}:"),
            line(INFO, "anon 67108864\nfile 0\nkernel 499712"),
        ]
    lines.append(
        line(INFO, "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name")
    )
    lines.append(_row(kill.tid or kill.pid, kill.pid, kill.uid, kill.comm))
    if kill.is_trigger_listed and kill.trigger not in (kill.pid, kill.tid):
        lines.append(_row(kill.trigger, kill.trigger, 0, kill.trigger_comm))
    lines += [_row(pid, pid, kill.uid, comm) for pid, comm in kill.others]
    return [*lines, summary(kill)]


def _row(tid: int, tgid: int, uid: int, comm: str) -> LogLine:
    return line(
        INFO, f"[{tid:7d}] {uid:5d} {tgid:5d} {16695:8d} {4244:8d} {69632:8d} {0:8d}         -998 {comm}"
    )


def invocation(kill: Kill) -> list[LogLine]:
    """A dump and its kill."""
    return [*dump(kill), killed(kill)]


def kmsg(lines: list[LogLine], first: int = 0) -> list[bytes]:
    """The records as ``/dev/kmsg`` gives them."""
    return [
        b"%d,%d,%d,%s;%s\n"
        % (each.priority, i, each.time_us, b"c" if each.is_fragment else b"-", _escaped(each.text))
        for i, each in enumerate(lines, first)
    ]


def _escaped(text: str) -> bytes:
    return b"".join(
        bytes([byte]) if 32 <= byte < 127 and byte != 0x5C else b"\\x%02x" % byte for byte in text.encode()
    )


def syslog(lines: list[LogLine]) -> bytes:
    """The text that the system call gives: a prefix for each line of a record."""
    text = b""
    for each in lines:
        prefix = f"<{each.priority}>[{each.time_us // 1_000_000:5d}.{each.time_us % 1_000_000:06d}] "
        text += b"".join(prefix.encode() + part + b"\n" for part in each.text.encode().split(b"\n"))
    return text


def spread(lines: list[LogLine]) -> list[LogLine]:
    """Each record a microsecond after the one before it."""
    return [replace(each, time_us=each.time_us + i) for i, each in enumerate(lines)]

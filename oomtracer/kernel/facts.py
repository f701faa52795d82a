"""What /proc and /sys say of this kernel and this boot.

Each function takes the directory it reads, so that a test can hand it a tree of its own. An answer that
the kernel does not give is ``None``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

from oomtracer.errors import UnsupportedError, errno_name

PROC = Path("/proc")
SYS = Path("/sys")

CgroupVersion = Literal["v1", "v2", "hybrid", "none"]


def boot_id(proc: Path = PROC) -> str:
    """The random id of this boot (``/proc/sys/kernel/random/boot_id``): the same in every container.

    Raises UnsupportedError where /proc is not there.
    """
    return read_proc("sys/kernel/random/boot_id", proc).strip()


def read_proc(name: str, proc: Path = PROC) -> str:
    """A file below /proc that every Linux has. Raises UnsupportedError where /proc is not there."""
    try:
        return (proc / name).read_text(errors="surrogateescape")
    except OSError as error:
        raise UnsupportedError(
            f"cannot read {proc / name}: {errno_name(error.errno or 0)}", hint="mount proc on /proc"
        ) from error


def oom_kills_since_boot(proc: Path = PROC) -> int | None:
    """The kernel's own count, ``oom_kill`` in ``/proc/vmstat`` (Linux 4.13)."""
    with suppress(OSError):
        for line in (proc / "vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None


def memory_nodes(sys: Path = SYS) -> int | None:
    """How many NUMA nodes have memory: 1 where the kernel knows no NUMA, None where /sys does not tell."""
    system = sys / "devices/system"
    try:
        text = (system / "node/has_memory").read_text().strip()
    except OSError:
        return 1 if (system / "cpu").exists() and not (system / "node").exists() else None
    count = 0
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return max(count, 1)


def lockdown(sys: Path = SYS) -> str | None:
    """The lockdown mode in force: ``none``, ``integrity`` or ``confidentiality``; None if unknown."""
    try:
        text = (sys / "kernel/security/lockdown").read_text()
    except OSError:
        return None
    chosen = [word[1:-1] for word in text.split() if word.startswith("[")]
    return chosen[0] if chosen else None


def _mounts(proc: Path) -> list[list[str]]:
    """Fields of ``/proc/self/mountinfo``; the file system's type and super options moved to the front."""
    mounts = []
    for line in read_proc("self/mountinfo", proc).splitlines():
        before, separator, after = line.partition(" - ")
        if separator:
            kind, _, options = after.split(" ")[:3]
            mounts.append([kind, options, *map(_unescaped, before.split(" "))])
    return mounts


def _unescaped(field: str) -> str:
    r"""The kernel writes space, tab, newline and backslash as ``\040`` and so on (mangle_path)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def memory_cgroup_mount(proc: Path = PROC) -> tuple[Path, CgroupVersion]:
    """Where the memory controller's hierarchy is mounted, and what kind of layout this machine has.

    ``hybrid`` is v1 with a v2 hierarchy beside it. The path is empty (``none``) where nothing is mounted.
    """
    mounts = _mounts(proc)
    v2 = [Path(m[6]) for m in mounts if m[0] == "cgroup2"]
    v1 = [Path(m[6]) for m in mounts if m[0] == "cgroup" and "memory" in m[1].split(",")]
    if v1:
        return v1[0], "hybrid" if v2 else "v1"
    return (v2[0], "v2") if v2 else (Path(), "none")

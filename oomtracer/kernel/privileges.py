"""What this process may do, and the little it does for itself: memory lock and OOM score."""

from __future__ import annotations

import resource
from enum import IntEnum
from typing import TYPE_CHECKING

from oomtracer.kernel.facts import PROC, read_proc

if TYPE_CHECKING:
    from pathlib import Path


class Capability(IntEnum):
    """The capabilities that matter here, by their bit (include/uapi/linux/capability.h)."""

    IPC_LOCK = 14
    SYS_ADMIN = 21
    SYS_RESOURCE = 24
    SYSLOG = 34
    PERFMON = 38
    BPF = 39


def effective_capabilities(proc: Path = PROC) -> frozenset[Capability]:
    """The effective ones of this process. CAP_SYS_ADMIN includes BPF and PERFMON (bpf_capable())."""
    mask = 0
    for line in read_proc("self/status", proc).splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
    found = {capability for capability in Capability if mask >> capability & 1}
    if Capability.SYS_ADMIN in found:
        found |= {Capability.BPF, Capability.PERFMON}
    return frozenset(found)


def memory_lock_limit_bytes() -> int | None:
    """RLIMIT_MEMLOCK, or None for unlimited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def may_lock_memory(capabilities: frozenset[Capability]) -> bool:
    """Whether locking all memory, future mappings included, cannot make a later allocation fail."""
    return Capability.IPC_LOCK in capabilities or memory_lock_limit_bytes() is None


def lower_oom_score(score: int, proc: Path = PROC) -> bool:
    """Ask the OOM killer to take this process last (needs CAP_SYS_RESOURCE). Returns whether it worked."""
    try:
        (proc / "self/oom_score_adj").write_text(str(score))
    except OSError:
        return False
    return True

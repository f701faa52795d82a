"""Which memory ran out: the kernel's own word where a probe could read it, else the functions on its stack.

Source: mm/oom_kill.c, mm/memcontrol.c and drivers/tty/sysrq.c from 5.8 to 7.3. A memory cgroup's kill
goes through mem_cgroup_out_of_memory() (which older compilers fold into its callers); a kill that was
asked for through moom_callback(); all others come from the page allocator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oomtracer.events import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEMCG = frozenset({"mem_cgroup_out_of_memory", "mem_cgroup_oom", "mem_cgroup_oom_synchronize"})
_SYSRQ = frozenset({"moom_callback", "sysrq_handle_moom"})
_KILL = "out_of_memory"
_GROUP_MEMBER = "oom_kill_memcg_member"
# The kernel's enum oom_constraint, in all releases so far.
_CONSTRAINTS = {0: Scope.GLOBAL, 1: Scope.CPUSET, 2: Scope.MEMPOLICY, 3: Scope.MEMCG}
# What moom_callback() gives for the order of an allocation that nobody made.
_SYSRQ_ORDER = -1
# Where the kernel's stack of a kill starts, whichever tracepoint told of it.
_FIRST = frozenset({"mark_oom_victim", "__oom_kill_process", "oom_kill_process", "out_of_memory"})


def function_name(frame: str) -> str:
    """``oom_kill_process`` for ``oom_kill_process.constprop.0+0x72``."""
    return frame.partition("+")[0].partition(".")[0]


def functions(frames: Sequence[str | None]) -> frozenset[str]:
    """The names on a symbolised stack, without what compilers add to them."""
    return frozenset(function_name(frame) for frame in frames if frame)


def without_tracing(frames: Sequence[str | None]) -> tuple[str, ...]:
    """The stack as the kernel had it before our program ran; ``?`` for a frame without a symbol.

    What comes before is told by name, not by count: the program itself, the tracepoint's machinery and, of a
    signal, its way through the kernel. The program's frame may carry the name of some function that ends
    before it.
    """
    names = [function_name(frame) if frame else "" for frame in frames]
    first = next((i for i, name in enumerate(names) if name in _FIRST), 0)
    # A classic tracepoint of 5.10 tells the function it is in twice. None of these calls itself.
    while first + 1 < len(names) and names[first] == names[first + 1] and names[first] in _FIRST:
        first += 1
    return tuple([frame or "?" for frame in frames[first:]])


def scope_of(
    names: frozenset[str], *, constraint: int | None, order: int | None, memory_nodes: int | None
) -> tuple[Scope, bool | None]:
    """The scope, and whether sysrq asked for it (None where neither stack nor ``order`` tell).

    Without ``constraint`` a cpuset or mempolicy kill cannot be told from a global one; with a single
    memory node there are none. ``memory_nodes`` is None where their number is unknown.
    """
    if order == _SYSRQ_ORDER or names & _SYSRQ:
        return Scope.GLOBAL, True
    sysrq = False if order is not None or _KILL in names else None
    if constraint is not None:
        return _CONSTRAINTS.get(constraint, Scope.UNKNOWN), sysrq
    if names & _MEMCG:
        return Scope.MEMCG, False
    if _KILL not in names or memory_nodes != 1:
        return Scope.UNKNOWN, sysrq
    return Scope.GLOBAL, False


def is_group_member(names: frozenset[str]) -> bool:
    """Whether the process died as a member of a ``memory.oom.group``, after the one the kernel chose."""
    return _GROUP_MEMBER in names

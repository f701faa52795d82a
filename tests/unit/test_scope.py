from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import Scope
from oomtracer.pipeline.scope import function_name, functions, is_group_member, scope_of, without_tracing

from . import stacks
from .builders import examples

NOTHING = (None,) * 20
TABLE = {
    "memcg": (stacks.MEMCG, Scope.MEMCG, False, False),
    "memcg, compiler suffixes": (stacks.MEMCG_SUFFIXES, Scope.MEMCG, False, False),
    "memcg, end of a page fault (v1)": (stacks.MEMCG_AT_FAULT_END, Scope.MEMCG, False, False),
    "memcg, folded into its caller": (stacks.MEMCG_FOLDED, Scope.MEMCG, False, False),
    "memcg, limit lowered": (stacks.MEMCG_LOWERED_LIMIT, Scope.MEMCG, False, False),
    "memcg, group member": (stacks.MEMCG_MEMBER, Scope.MEMCG, False, True),
    "memcg, sharer": (stacks.SHARER, Scope.MEMCG, False, False),
    "page allocator": (stacks.GLOBAL, Scope.GLOBAL, False, False),
    "page allocator, group member": (stacks.GLOBAL_MEMBER, Scope.GLOBAL, False, True),
    "page allocator, exiting already": (stacks.GLOBAL_FAST, Scope.GLOBAL, False, False),
    "page fault": (stacks.GLOBAL_PAGEFAULT, Scope.GLOBAL, False, False),
    "sysrq": (stacks.SYSRQ, Scope.GLOBAL, True, False),
    "no symbols": (NOTHING, Scope.UNKNOWN, None, False),
    "no stack": ((), Scope.UNKNOWN, None, False),
    "a stack that says nothing": (stacks.FAULT, Scope.UNKNOWN, None, False),
}


@pytest.mark.parametrize(("stack", "scope", "sysrq", "member"), TABLE.values(), ids=TABLE)
def test_real_stacks_on_one_memory_node(stack, scope, sysrq, member):
    """The functions on the stack tell which memory ran out, whether sysrq asked, and group members."""
    names = functions(stack)
    assert scope_of(names, constraint=None, order=None, memory_nodes=1) == (scope, sysrq)
    assert is_group_member(names) is member


@pytest.mark.parametrize(
    "stack", [stacks.GLOBAL, stacks.GLOBAL_FAST, stacks.GLOBAL_PAGEFAULT, stacks.GLOBAL_MEMBER]
)
def test_several_memory_nodes_leave_the_page_allocators_scope_open(stack):
    """Where cpuset and mempolicy kills look the same, a kill is not called global."""
    assert scope_of(functions(stack), constraint=None, order=None, memory_nodes=2) == (Scope.UNKNOWN, False)


@pytest.mark.parametrize(("stack", "scope"), [(stacks.MEMCG, Scope.MEMCG), (stacks.SYSRQ, Scope.GLOBAL)])
def test_several_memory_nodes_change_nothing_where_the_stack_is_clear(stack, scope):
    """A memory cgroup's kill and sysrq's are known on any machine."""
    assert scope_of(functions(stack), constraint=None, order=None, memory_nodes=8)[0] is scope


@pytest.mark.parametrize(
    ("constraint", "scope"),
    [(0, Scope.GLOBAL), (1, Scope.CPUSET), (2, Scope.MEMPOLICY), (3, Scope.MEMCG), (4, Scope.UNKNOWN)],
)
def test_the_kernels_own_constraint_wins(constraint, scope):
    """Where the kernel said the constraint, nothing is concluded from the stack or the nodes."""
    for stack, sysrq in ((stacks.GLOBAL, False), (NOTHING, None)):
        assert scope_of(functions(stack), constraint=constraint, order=None, memory_nodes=4) == (scope, sysrq)


def test_sysrq_is_global_whatever_the_constraint_says():
    """A kill that was asked for belongs to the node."""
    assert scope_of(functions(stacks.SYSRQ), constraint=0, order=None, memory_nodes=4) == (Scope.GLOBAL, True)


@pytest.mark.parametrize("stack", [stacks.GLOBAL, NOTHING])
def test_sysrq_is_told_by_the_order_too(stack):
    """An order of -1 is nobody's allocation, whether symbols are known or not."""
    told = scope_of(functions(stack), constraint=0, order=-1, memory_nodes=4)
    assert told == (Scope.GLOBAL, True)


@pytest.mark.parametrize(
    ("constraint", "scope"), [(3, Scope.MEMCG), (0, Scope.GLOBAL), (None, Scope.UNKNOWN)]
)
def test_with_the_order_it_is_known_that_it_was_not_sysrq(constraint, scope):
    """Without symbols the kernel's own word is enough; where it has not said the constraint, nobody guesses."""
    assert scope_of(functions(NOTHING), constraint=constraint, order=0, memory_nodes=1) == (scope, False)


@given(st.frozensets(st.sampled_from(sorted(functions((*stacks.FAULT, *stacks.TRACING, "vfs_read"))))))
@examples(50)
def test_without_the_oom_killer_on_the_stack_nothing_is_claimed(names):
    """A stack cut before out_of_memory() leads to unknown, never to global."""
    assert scope_of(names, constraint=None, order=None, memory_nodes=1) == (Scope.UNKNOWN, None)


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ("out_of_memory+0xf4", "out_of_memory"),
        ("oom_kill_process.constprop.0+0x72", "oom_kill_process"),
        ("out_of_memory.part.0.isra.0+0x1", "out_of_memory"),
        ("oom_kill_process.cold+0xb", "oom_kill_process"),
        ("plain", "plain"),
    ],
)
def test_compiler_suffixes_are_no_part_of_a_functions_name(frame, name):
    """Suffixes and offsets are cut off."""
    assert function_name(frame) == name


def test_the_stack_begins_where_the_kernel_was_before_the_tracing():
    """Program, tracepoint and signal are left out by name; a later frame without a symbol is told as ?."""
    stack = (
        None,
        "misnamed+0xff",
        *stacks.TRACING,
        "mark_oom_victim.isra.0+0x8a",
        None,
        "out_of_memory+0xf4",
    )
    assert without_tracing(stack) == ("mark_oom_victim.isra.0+0x8a", "?", "out_of_memory+0xf4")
    assert without_tracing(stacks.MEMCG)[0] == "mark_oom_victim+0x8a"
    assert without_tracing(stacks.SHARER)[0] == "__oom_kill_process+0x2c4"


def test_a_function_that_is_told_twice_at_the_start_is_told_once():
    """As a classic tracepoint of 5.10 does; what comes after the start is left as it is."""
    rest = ("oom_kill_process+0x72", "out_of_memory+0xf4", "vfs_read+0x1", "vfs_read+0x1")
    for twice in (("mark_oom_victim+0x84",) * 2, ("mark_oom_victim+0x5f", "mark_oom_victim.isra.0+0x84")):
        assert without_tracing((None, *twice, *rest)) == (twice[1], *rest)
    assert without_tracing(("mark_oom_victim+0x84",) * 2) == ("mark_oom_victim+0x84",)


def test_a_stack_without_a_known_start_is_told_whole():
    """Where no frame names the OOM killer nothing is left out."""
    assert without_tracing(stacks.FAULT) == stacks.FAULT
    assert without_tracing((None, None)) == ("?", "?")
    assert without_tracing(()) == ()

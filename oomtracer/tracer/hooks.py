"""The hook table: every program of the object, what it adds, and what the kernel must have for it.

Programs are declared off (``SEC("?...")``); what BTF says decides which may be switched on, never a version
number and never a trial load: a program that takes a task loads on a kernel that hands it a pid, and
reads garbage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer.tracer.needs import EventField, Function, Kprobes, Tracepoint

if TYPE_CHECKING:
    from oomtracer.tracer.needs import Need

VICTIM, TRUTH, CONTEXT = "victim", "truth", "context"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One program of the object. In its group, the first that can be used is."""

    name: str
    program: str
    group: str
    needs: tuple[Need, ...]
    required: bool
    """Whether nothing works where no hook of this group can be used."""
    adds: str
    weakness: str = ""
    """What it can miss, where it can; told when it is used."""


_OUT_OF_MEMORY = Function("out_of_memory", ("oom_control *",))
_MARKS = "every process the OOM killer marks, at that instant"
_CONTEXT = "the kernel's own word on whose limit was hit, constraint, order, gfp mask"

HOOKS = (
    Hook(
        name="tp_btf/mark_victim",
        program="mark_victim_task",
        group=VICTIM,
        needs=(Tracepoint("mark_victim", ("task_struct *",)),),
        required=True,
        adds=_MARKS,
    ),
    Hook(
        name="tp_btf/mark_victim_pid",
        program="mark_victim_pid",
        group=VICTIM,
        needs=(Tracepoint("mark_victim", ("int",)),),
        required=True,
        adds=f"{_MARKS}, found by its pid",
    ),
    Hook(
        name="tracepoint/oom/mark_victim",
        program="mark_victim_event",
        group=VICTIM,
        needs=(EventField("oom", "mark_victim", "pid"),),
        required=True,
        adds=f"{_MARKS}, found by its pid",
        weakness="a kill while another task on its processor changes a BPF map is missed, and not counted as lost",
    ),
    Hook(
        name="tp_btf/signal_generate",
        program="signal_generate_task",
        group=TRUTH,
        needs=(Tracepoint("signal_generate", ("int", "kernel_siginfo *", "task_struct *", "int", "int")),),
        required=False,
        adds="whether a mark was a kill, second kills of group members, sharers of the victim's memory",
    ),
    Hook(
        name="fentry/out_of_memory",
        program="out_of_memory_fentry",
        group=CONTEXT,
        needs=(_OUT_OF_MEMORY,),
        required=False,
        adds=_CONTEXT,
    ),
    Hook(
        name="kprobe/out_of_memory",
        program="out_of_memory_kprobe",
        group=CONTEXT,
        needs=(_OUT_OF_MEMORY, Kprobes()),
        required=False,
        adds=_CONTEXT,
    ),
)

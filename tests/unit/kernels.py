"""Kernels that answer what a hook needs, as BTF and /sys would."""

from __future__ import annotations

from dataclasses import dataclass, field

from oomtracer.libbpf import Member

TASK = {"mark_victim": ("task_struct *", "uid_t")}
PID = {"mark_victim": ("int",)}
SIGNAL = {"signal_generate": ("int", "kernel_siginfo *", "task_struct *", "int", "int")}
OUT_OF_MEMORY = {"out_of_memory": ("oom_control *",)}
EVENT = {"trace_event_raw_mark_victim": (Member("ent", 0, 8), Member("pid", 8, 4))}


@dataclass
class FakeKernel:
    """Has nothing but what it is given."""

    tracepoints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    functions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    structs: dict[str, tuple[Member, ...]] = field(default_factory=dict)
    events: bool = False
    kprobes: bool = False

    def tracepoint_arguments(self, tracepoint: str) -> tuple[str, ...] | None:
        """Tell a prototype."""
        return self.tracepoints.get(tracepoint)

    def function_arguments(self, function: str) -> tuple[str, ...] | None:
        """Tell a prototype."""
        return self.functions.get(function)

    def members(self, struct: str) -> tuple[Member, ...] | None:
        """Tell a struct."""
        return self.structs.get(struct)

    def has_event(self, _category: str, _name: str) -> bool:
        """Tell whether tracefs is mounted."""
        return self.events

    def has_kprobes(self) -> bool:
        """Tell whether they are built in."""
        return self.kprobes


def complete(mark: dict[str, tuple[str, ...]] = TASK) -> FakeKernel:
    """Build one that has everything."""
    return FakeKernel(mark | SIGNAL, OUT_OF_MEMORY, EVENT, events=True, kprobes=True)

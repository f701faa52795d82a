"""What a hook needs of the kernel, as questions: each is answered with "" or with what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from oomtracer.kernel import tracing

if TYPE_CHECKING:
    from oomtracer.libbpf import Btf, Member


class Kernel(Protocol):
    """Who answers."""

    def tracepoint_arguments(self, tracepoint: str) -> tuple[str, ...] | None:
        """The type names of a tracepoint's arguments, or None where there is no such tracepoint."""

    def function_arguments(self, function: str) -> tuple[str, ...] | None:
        """The same of a function."""

    def members(self, struct: str) -> tuple[Member, ...] | None:
        """The members of a struct, or None where there is no such struct."""

    def has_event(self, category: str, name: str) -> bool:
        """Whether tracefs shows an event."""

    def has_kprobes(self) -> bool:
        """Whether kprobes are built in."""


class RunningKernel:
    """This machine's: its BTF, and /sys."""

    def __init__(self, btf: Btf) -> None:
        self.tracepoint_arguments = btf.tracepoint_arguments
        self.function_arguments = btf.function_arguments
        self.members = btf.members
        self.has_event = tracing.has_event
        self.has_kprobes = tracing.has_kprobes


class Need(Protocol):
    """One condition for the use of a hook."""

    def missing(self, kernel: Kernel) -> str:
        """What is missing, for a person; empty where nothing is."""


@dataclass(frozen=True, slots=True)
class Tracepoint:
    """A tracepoint whose first arguments are these, as BTF names their types."""

    name: str
    arguments: tuple[str, ...]

    def missing(self, kernel: Kernel) -> str:
        """No such tracepoint, or another prototype."""
        found = kernel.tracepoint_arguments(self.name)
        if found is None:
            return f"this kernel has no tracepoint {self.name}"
        return _difference(self.name, self.arguments, found)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the kernel whose first arguments are these."""

    name: str
    arguments: tuple[str, ...]

    def missing(self, kernel: Kernel) -> str:
        """No such function (folded into its callers, or renamed), or another prototype."""
        found = kernel.function_arguments(self.name)
        if found is None:
            return f"this kernel has no function {self.name}"
        return _difference(self.name, self.arguments, found)


@dataclass(frozen=True, slots=True)
class EventField:
    """A classic tracepoint in a tracefs that is mounted, whose struct has this member."""

    category: str
    name: str
    member: str

    def missing(self, kernel: Kernel) -> str:
        """No such member, or no tracefs."""
        members = kernel.members(f"trace_event_raw_{self.name}") or ()
        if self.member not in {member.name for member in members}:
            return f"the event {self.category}/{self.name} has no {self.member} here"
        if not kernel.has_event(self.category, self.name):
            return f"no event {self.category}/{self.name}: tracefs must be mounted on /sys/kernel/tracing, and readable"
        return ""


@dataclass(frozen=True, slots=True)
class Kprobes:
    """Kprobes are built in."""

    def missing(self, kernel: Kernel) -> str:
        """They are not."""
        return "" if kernel.has_kprobes() else "this kernel was built without kprobes"


def _difference(name: str, wanted: tuple[str, ...], found: tuple[str, ...]) -> str:
    return "" if found[: len(wanted)] == wanted else f"{name} takes ({', '.join(found)}) here"

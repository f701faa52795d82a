"""The hook table: every program of the object, what it adds, and what the kernel must have for it.

Programs are declared off (``SEC("?...")``); what BTF says decides which are switched on, never a version
number and never a trial load: a program that takes a task loads on a kernel that hands it a pid, and
reads garbage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One program of the object. In its group, the first whose tracepoint fits is used."""

    name: str
    program: str
    group: str
    tracepoint: str
    arguments: tuple[str, ...]
    """The first arguments the tracepoint must have, as BTF names their types."""
    required: bool
    """Whether nothing works where no hook of this group fits."""
    adds: str


HOOKS = (
    Hook(
        name="tp_btf/mark_victim",
        program="mark_victim_task",
        group="victim",
        tracepoint="mark_victim",
        arguments=("task_struct *",),
        required=True,
        adds="every process the OOM killer marks, at that instant",
    ),
    Hook(
        name="tp_btf/signal_generate",
        program="signal_generate_task",
        group="truth",
        tracepoint="signal_generate",
        arguments=("int", "kernel_siginfo *", "task_struct *", "int", "int"),
        required=False,
        adds="whether a mark was a kill, second kills of group members, sharers of the victim's memory",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChoice:
    """The hook in use for a group; None, and why, where none fits."""

    group: str
    hook: Hook | None
    required: bool
    reason: str


def choose_hooks(
    tracepoint_arguments: Callable[[str], tuple[str, ...] | None], hooks: Iterable[Hook] = HOOKS
) -> tuple[GroupChoice, ...]:
    """Pick a hook for each group, given the kernel's tracepoint prototypes (``Btf.tracepoint_arguments``)."""
    groups: dict[str, list[Hook]] = {}
    for hook in hooks:
        groups.setdefault(hook.group, []).append(hook)
    return tuple(_choose(group, candidates, tracepoint_arguments) for group, candidates in groups.items())


def _choose(
    group: str, candidates: list[Hook], tracepoint_arguments: Callable[[str], tuple[str, ...] | None]
) -> GroupChoice:
    required = any(hook.required for hook in candidates)
    reasons = []
    for hook in candidates:
        found = tracepoint_arguments(hook.tracepoint)
        if found is None:
            reasons.append(f"this kernel has no tracepoint {hook.tracepoint}")
        elif found[: len(hook.arguments)] != hook.arguments:
            reasons.append(f"{hook.tracepoint} takes ({', '.join(found)}) here")
        else:
            return GroupChoice(group=group, hook=hook, required=required, reason="")
    return GroupChoice(group=group, hook=None, required=required, reason="; ".join(reasons))

"""Which hook of each group is used: the first that fits, was not switched off and was not refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oomtracer.errors import UsageError
from oomtracer.tracer.hooks import HOOKS, Hook

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from oomtracer.tracer.needs import Kernel

SWITCHED_OFF = "switched off by --disable-hook"
NOT_PINNED = "the kernel refused it when the pins were made; `oomtracer unpin` has it tried again"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hook, and why it cannot be used; empty where it can."""

    hook: Hook
    reason: str


@dataclass(frozen=True, slots=True)
class GroupChoice:
    """The hooks of a group in the order of preference."""

    group: str
    candidates: tuple[Candidate, ...]

    @property
    def hook(self) -> Hook | None:
        """The one in use; None where none can be."""
        return next((candidate.hook for candidate in self.candidates if not candidate.reason), None)

    @property
    def required(self) -> bool:
        """Whether nothing works without one."""
        return any(candidate.hook.required for candidate in self.candidates)

    @property
    def reason(self) -> str:
        """Why those that cannot be used cannot."""
        ruled_out = [candidate for candidate in self.candidates if candidate.reason]
        return "; ".join([f"{candidate.hook.name}: {candidate.reason}" for candidate in ruled_out])

    def without(self, hook: Hook, reason: str) -> GroupChoice:
        """The same group once a hook is known not to work."""
        return replace(
            self,
            candidates=tuple(
                Candidate(each.hook, reason) if each.hook is hook else each for each in self.candidates
            ),
        )

    def as_pinned(self, programs: Collection[str]) -> GroupChoice:
        """The same group where the links of ``programs`` were found pinned: the hook among them is in use."""
        order = [each.hook.program in programs for each in self.candidates]
        before = order.index(True) if True in order else len(order)
        return replace(
            self,
            candidates=tuple(
                Candidate(each.hook, "" if order[i] else each.reason or (NOT_PINNED if i < before else ""))
                for i, each in enumerate(self.candidates)
            ),
        )


def choose_hooks(
    kernel: Kernel, *, disabled: frozenset[str] = frozenset(), hooks: Iterable[Hook] = HOOKS
) -> tuple[GroupChoice, ...]:
    """Judge every hook of each group by what the kernel has; ``disabled`` are names of hooks."""
    groups: dict[str, list[Candidate]] = {}
    for hook in hooks:
        reason = SWITCHED_OFF if hook.name in disabled else _missing(hook, kernel)
        groups.setdefault(hook.group, []).append(Candidate(hook, reason))
    return tuple(GroupChoice(group, tuple(candidates)) for group, candidates in groups.items())


def _missing(hook: Hook, kernel: Kernel) -> str:
    return next(filter(None, (need.missing(kernel) for need in hook.needs)), "")


def hook_names(given: Sequence[str]) -> frozenset[str]:
    """The hooks named on the command line, each alone or several by commas or spaces. Raises UsageError."""
    names = frozenset(name for each in given for name in each.replace(",", " ").split())
    known = [hook.name for hook in HOOKS]
    unknown = sorted(names.difference(known))
    if unknown:
        raise UsageError(
            f"--disable-hook: there is no hook {unknown[0]}", hint=f"the hooks are {', '.join(known)}"
        )
    return names

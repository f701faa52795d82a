"""Loading and attaching the object's programs: a hook that the kernel refuses gives way to the next."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from oomtracer.errors import UnsupportedError, errno_name
from oomtracer.libbpf import BpfObject, LoadError, check_layout
from oomtracer.tracer.explain import explained
from oomtracer.tracer.hooks import CONTEXT, TRUTH, VICTIM, Hook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oomtracer.tracer.choice import GroupChoice

# uname's machine -> the architecture in the object's file name.
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
# Of the machine at this moment, not of the hook: another one would be refused as well, or the next start would not.
TRANSIENT = frozenset({errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})
# A mark whose signal or whose run's beginning went unseen would say less, or wrongly that it was no kill.
ATTACH_ORDER = (TRUTH, CONTEXT, VICTIM)


def object_path() -> Path:
    """The object for this machine. Raises UnsupportedError where there is none."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise UnsupportedError(
            f"no BPF object for {machine}", hint=f"supported architectures: {', '.join(ARCHITECTURES)}"
        )
    path = Path(__file__).parent.parent / "bpf" / f"oomtracer.{ARCHITECTURES[machine]}.bpf.o"
    if not path.exists():
        raise UnsupportedError(
            f"the BPF object {path.name} is not installed",
            hint="run `make build` in a checkout, or install the wheel",
        )
    return path


class Loading:
    """Which hooks are left, and which were refused on the way."""

    def __init__(self, choices: tuple[GroupChoice, ...], *, ring_size_bytes: int) -> None:
        self.choices = choices
        self.refused: list[tuple[Hook, LoadError]] = []
        self._ring_size_bytes = ring_size_bytes

    def load(self, path: Path) -> BpfObject:
        """Load and attach. Raises UnsupportedError where no hook is left that must be."""
        refusals: dict[str, LoadError] = {}
        while True:
            self._require_hooks(refusals)
            try:
                return self._attempt(path)
            except LoadError as error:
                hook = next((hook for hook in self.hooks() if hook.program == error.program), None)
                if hook is None or error.number in TRANSIENT:
                    raise explained(error) from error
                refusals.setdefault(hook.group, error)
                self._rule_out(hook, f"the kernel refuses it: {errno_name(error.number)}")
                self.refused.append((hook, error))

    def hooks(self) -> list[Hook]:
        """Those that are used, in the order of attaching."""
        hooks = [choice.hook for choice in self.choices if choice.hook]
        return sorted(hooks, key=lambda hook: ATTACH_ORDER.index(hook.group))

    def _require_hooks(self, refusals: Mapping[str, LoadError]) -> None:
        for choice in self.choices:
            if not choice.required or choice.hook:
                continue
            if choice.group in refusals:
                raise explained(refusals[choice.group])
            raise UnsupportedError(
                f"no hook for the {choice.group} group: {choice.reason}",
                hint="use a kernel of the table in the README, or leave out --disable-hook where it was given",
            )

    def _rule_out(self, hook: Hook, reason: str) -> None:
        self.choices = tuple([choice.without(hook, reason) for choice in self.choices])

    def _attempt(self, path: Path) -> BpfObject:
        hooks = self.hooks()
        with ExitStack() as stack:
            opened = stack.enter_context(BpfObject(path))
            check_layout(opened.btf)
            for hook in hooks:
                opened.enable(hook.program)
            opened.set_flag("signals_seen", value=any(hook.group == TRUTH for hook in hooks))
            opened.set_ring_size("events", self._ring_size_bytes)
            opened.load()
            for hook in hooks:
                opened.attach(hook.program)
            stack.pop_all()
        return opened

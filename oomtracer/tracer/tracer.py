"""From the BPF object to raw records."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from oomtracer.errors import UnsupportedError, errno_name
from oomtracer.libbpf import BpfObject, Btf, LoadError, RingBuffer, RingRecord, check_layout, extension_size
from oomtracer.tracer.choice import GroupChoice, choose_hooks
from oomtracer.tracer.explain import explained, require_privileges
from oomtracer.tracer.hooks import CONTEXT, HOOKS, TRUTH, VICTIM, Hook
from oomtracer.tracer.needs import RunningKernel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

logger = logging.getLogger("oomtracer.tracer")

# uname's machine -> the architecture in the object's file name.
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
# Records taken at once before the loop gets its turn: a storm must not hold up /healthz.
BATCH = 64
# BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h.
RING_HEADER_BYTES = 8
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


def record_bytes() -> int:
    """Room that one kill takes in the ring, the ring's own header included (without extra paths)."""
    return RING_HEADER_BYTES + extension_size("oom_event")


class Batch(NamedTuple):
    """Some records of one ring. ``ring`` names it: a sequence and positions start anew with another one."""

    ring: str
    records: list[RingRecord]


class Counted(NamedTuple):
    """Of ``struct oom_counters``, what is counted beside the records themselves."""

    ring_full: int = 0
    second_kills: int = 0
    not_found: int = 0


class Tracer:
    """Loaded and attached inside its context; leaving it leaves nothing in the kernel.

    Entering raises UnsupportedError: missing privileges or BTF, no usable hook, a refused program.
    """

    def __init__(self, *, ring_size_bytes: int, disabled_hooks: frozenset[str] = frozenset()) -> None:
        self.choices: tuple[GroupChoice, ...] = ()
        self._ring_size_bytes = ring_size_bytes
        self._disabled_hooks = disabled_hooks
        self._refused: list[tuple[Hook, LoadError]] = []
        self._stack = ExitStack()
        self._loaded = False
        self._counted = Counted()
        self._told_lost = 0
        self._ring_name = secrets.token_hex(8)

    def __enter__(self) -> Self:
        require_privileges()
        path = object_path()
        with Btf.of_kernel() as btf:
            self.choices = choose_hooks(RunningKernel(btf), disabled=self._disabled_hooks)
        with self._stack as stack:
            self._object = stack.enter_context(self._load(path))
            self._ring = stack.enter_context(RingBuffer(self._object.map_fd("events")))
            self._stack = stack.pop_all()
        self._loaded = True
        self._tell_choices()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._counted = self._count()
        self._loaded = False
        self._stack.close()

    def _load(self, path: Path) -> BpfObject:
        """Load and attach. A hook that the kernel refuses gives way to the next one of its group."""
        refusals: dict[str, LoadError] = {}
        while True:
            self._require_hooks(refusals)
            try:
                return self._attempt(path)
            except LoadError as error:
                hook = next((hook for hook in self._hooks() if hook.program == error.program), None)
                if hook is None or error.number in TRANSIENT:
                    raise explained(error) from error
                refusals.setdefault(hook.group, error)
                self._rule_out(hook, f"the kernel refuses it: {errno_name(error.number)}")
                self._refused.append((hook, error))

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

    def _hooks(self) -> list[Hook]:
        hooks = [choice.hook for choice in self.choices if choice.hook]
        return sorted(hooks, key=lambda hook: ATTACH_ORDER.index(hook.group))

    def _attempt(self, path: Path) -> BpfObject:
        hooks = self._hooks()
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

    def _tell_choices(self) -> None:
        for hook, error in self._refused:
            level = logging.INFO if hook.group == CONTEXT else logging.WARNING
            logger.log(level, "%s is refused: %s", hook.name, error.message)
        for choice in self.choices:
            if choice.hook:
                logger.info("attached %s: %s", choice.hook.name, choice.hook.adds)
                if choice.hook.weakness:
                    logger.warning("%s: %s", choice.hook.name, choice.hook.weakness)
            if choice.hook is not choice.candidates[0].hook:
                logger.info("not usable in the %s group: %s", choice.group, choice.reason)

    def read(self) -> Batch:
        """Records that were not read yet, oldest first; at most ``BATCH``. Never waits, raises OomTracerError."""
        records = self._ring.read(limit=BATCH)
        if len(records) < BATCH:
            self._tell_losses()
        return Batch(self._ring_name, records)

    def ring_fd(self) -> int:
        """The descriptor of the ring's map; it belongs to the tracer."""
        return self._ring.fileno()

    def release(self) -> None:
        """Give the room of all that was read back to the kernel."""
        self._ring.release()

    async def readable(self, woken: asyncio.Event) -> None:
        """Wait until there is something that was not released, or ``woken`` is set."""
        loop = asyncio.get_running_loop()
        # Only for as long as somebody waits: what is held back unreleased keeps the descriptor readable.
        loop.add_reader(self._ring.fileno(), woken.set)
        try:
            await woken.wait()
        finally:
            loop.remove_reader(self._ring.fileno())

    def _tell_losses(self) -> None:
        lost = self.records_lost()
        if lost > self._told_lost:
            logger.error("the ring was full: %d kills lost so far (raise --ring-size)", lost)
        self._told_lost = lost

    def stop(self) -> None:
        """Detach: nothing more comes into the ring."""
        self._object.detach()

    def attached(self) -> dict[str, bool]:
        """Every hook of the table, and whether it is attached."""
        used = {choice.hook.name for choice in self.choices if choice.hook} if self._loaded else set()
        return {hook.name: hook.name in used for hook in HOOKS}

    def records_lost(self) -> int:
        """Records that found the ring full, by the kernel's own count; 0 before anything is loaded."""
        return self._count().ring_full

    def victims_not_found(self) -> int:
        """Kills whose mark told a pid alone, and no task was found for it."""
        return self._count().not_found

    def second_kills(self) -> int:
        """Kills of processes that were marked before: in /proc/vmstat, but no kill of another process."""
        return self._count().second_kills

    def _count(self) -> Counted:
        # What was counted stays readable after the end: a counter that falls looks like a new start.
        if not self._loaded:
            return self._counted
        counters = self._object.lookup("counters", "oom_counters")
        return Counted(*(int(getattr(counters, name)) for name in Counted._fields))

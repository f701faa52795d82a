"""From the BPF object to raw records."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from oomtracer.audit import Baseline, Counters
from oomtracer.errors import OomTracerError
from oomtracer.libbpf import BpfObject, Btf, RingBuffer, RingRecord, check_layout, extension_size
from oomtracer.tracer.choice import GroupChoice, choose_hooks
from oomtracer.tracer.explain import require_privileges
from oomtracer.tracer.hooks import HOOKS, TRUTH, Hook
from oomtracer.tracer.instance import QUIET_AFTER_NS, Instance
from oomtracer.tracer.loading import Loading, object_path
from oomtracer.tracer.needs import RunningKernel
from oomtracer.tracer.pin_directory import PinDirectory, PinFaultError
from oomtracer.tracer.pins import Pins, build_of, find, pin_instance
from oomtracer.tracer.remains import Remains, take_over
from oomtracer.tracer.telling import tell_hooks, tell_refused

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

logger = logging.getLogger("oomtracer.tracer")

# Records taken at once before the loop gets its turn: a storm must not hold up /healthz.
BATCH = 64
# BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h.
RING_HEADER_BYTES = 8
QUIET_AFTER_DAYS = QUIET_AFTER_NS // (24 * 3600 * 10**9)


def record_bytes() -> int:
    """Room that one kill takes in the ring, the ring's own header included (without extra paths)."""
    return RING_HEADER_BYTES + extension_size("oom_event")


class Batch(NamedTuple):
    """Some records of one ring. ``ring`` names it: a sequence and positions start anew with another one."""

    ring: str
    records: list[RingRecord]


class Tracer:
    """Loaded and attached inside its context; leaving it leaves in the kernel what is pinned, or nothing.

    Entering raises UnsupportedError: missing privileges or BTF, no usable hook, a refused program; and
    DirectoryHeldError where another agent has the pin path. Where nothing can be pinned it goes on without:
    ``pin_fault`` says why.
    """

    def __init__(
        self,
        *,
        ring_size_bytes: int,
        disabled_hooks: frozenset[str] = frozenset(),
        pin_path: Path | None = None,
    ) -> None:
        self.choices: tuple[GroupChoice, ...] = ()
        self.pin_path = pin_path
        self.pin_fault = ""
        """Why nothing is pinned although that was asked for."""
        self.unpinned: tuple[Hook, ...] = ()
        """The hooks in use that end with this process although others may stay: their links cannot be pinned."""
        self.is_adopted = False
        """Whether another process has attached what is in use."""
        self._ring_size_bytes = ring_size_bytes
        self._disabled_hooks = disabled_hooks
        self._stack = ExitStack()
        self._object: BpfObject | None = None
        self._instance: Instance | None = None
        self._remains: list[Remains] = []
        self.replaced: tuple[str, ...] = ()
        """The instances that were found pinned and are not used any more, oldest first."""
        self._before = Counters()
        self._counted = Counters()

    def __enter__(self) -> Self:
        require_privileges()
        path = object_path()
        with Btf.of_kernel() as btf:
            self.choices = choose_hooks(RunningKernel(btf), disabled=self._disabled_hooks)
        with self._stack as stack:
            found = self._find(stack)
            build = self.build() if self._pins else b""
            ours = next((pins for pins in reversed(found) if pins.is_whole and pins.build == build), None)
            instance = self._adopt(stack, ours, path) if ours else self._load(stack, path, build)
            self._ring = stack.enter_context(RingBuffer(instance.map("events").fileno()))
            self._replace(instance, [pins for pins in found if pins is not ours])
            self._stack = stack.pop_all()
        self._instance = instance
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._counted = self.counted()
        self._instance = None
        for remains in self._remains:
            remains.close()
        self._stack.close()

    def _find(self, stack: ExitStack) -> list[Pins]:
        """What is pinned already; none where nothing can be."""
        if self.pin_path is None:
            return []
        try:
            stack.enter_context(PinDirectory(self.pin_path))
            return find(self.pin_path)
        except PinFaultError as error:
            self._go_unpinned(error)
            return []

    def _go_unpinned(self, error: OomTracerError) -> None:
        self.pin_fault = error.message
        logger.error(
            "%s: kills are told only while this process lives (%s)",
            error.message,
            error.hint or "see `check`",
        )

    @property
    def _pins(self) -> bool:
        return self.pin_path is not None and not self.pin_fault

    @property
    def is_pinned(self) -> bool:
        """Whether what is in use stays in the kernel when this process ends."""
        # Somebody may have removed the pins: their programs go on with this process, and end with it.
        return (
            self._pins and self.pin_path is not None and (self.pin_path / self.instance / "map_meta").exists()
        )

    def build(self) -> bytes:
        """What marks an instance as made with this object and these settings. Raises UnsupportedError."""
        return build_of(
            object_path(), ring_size_bytes=self._ring_size_bytes, disabled_hooks=self._disabled_hooks
        )

    def _adopt(self, stack: ExitStack, pins: Pins, path: Path) -> Instance:
        with BpfObject(path) as opened:
            check_layout(opened.btf)
        self.choices = tuple([choice.as_pinned(pins.programs) for choice in self.choices])
        instance = stack.enter_context(pins.open())
        pins.hold_links(stack)
        instance.note_adopted()
        self.is_adopted = True
        logger.info("the programs pinned in %s are in use", pins.directory)
        tell_hooks(self.choices)
        return instance

    def _load(self, stack: ExitStack, path: Path, build: bytes) -> Instance:
        loading = Loading(self.choices, ring_size_bytes=self._ring_size_bytes)
        try:
            opened = stack.enter_context(loading.load(path))
        finally:
            self.choices = loading.choices
        self._object, hooks = opened, loading.hooks()
        self.unpinned = tuple([hook for hook in hooks if not opened.can_pin(hook.program)])
        tell_refused(loading.refused)
        tell_hooks(self.choices)
        size = self._ring_size_bytes
        instance = stack.enter_context(
            Instance.made(opened, build=build, ring_bytes=size, links=len(hooks), pinned=self._pins)
        )
        if self.pin_path and self._pins:
            self._pin(self.pin_path, instance, opened, hooks)
        return instance

    def _pin(self, path: Path, instance: Instance, opened: BpfObject, hooks: list[Hook]) -> None:
        try:
            pin_instance(
                path, instance, opened, [hook.program for hook in hooks if hook not in self.unpinned]
            )
        except PinFaultError as error:
            self._go_unpinned(error)
            return
        logger.info("the programs are pinned in %s", path / instance.name)
        for hook in self.unpinned:
            logger.warning("%s cannot be pinned by this kernel: it ends with this process", hook.name)

    def _replace(self, instance: Instance, others: list[Pins]) -> None:
        self._remains = take_over(others)
        self.replaced = tuple([remains.name for remains in self._remains])
        for remains in self._remains:
            logger.info("the programs that were pinned as %s are replaced", remains.name)
            self._before = self._before.plus(remains.counted)
        self._carry_on(instance)

    def _carry_on(self, instance: Instance) -> None:
        """What the others had not seen stays unseen: it does not become "before the start" by a new one."""
        baselines = [remains.baseline for remains in self._remains]
        if baselines and not self.is_adopted and baselines[0] and None not in baselines:
            seen = sum([remains.counted.seen_kills for remains in self._remains])
            instance.carry_on(baselines[0].before_start + seen)

    def read(self) -> Batch:
        """Records that were not read yet, oldest first; at most ``BATCH``. Never waits, raises OomTracerError.

        What replaced instances still hold comes first.
        """
        for remains in self._remains:
            if old := remains.read(limit=BATCH):
                return Batch(remains.name, old)
        records = self._ring.read(limit=BATCH)
        return Batch(self.instance, records)

    @property
    def instance(self) -> str:
        """The name of the ring: 16 hexadecimal digits; empty while nothing is loaded."""
        return self._instance.name if self._instance else ""

    @property
    def attached_ns(self) -> int:
        """When the instance in use was attached, by whichever process; nanoseconds of the boot clock."""
        return self._instance.created_ns if self._instance else 0

    @property
    def baseline(self) -> Baseline | None:
        """The counts just after attaching, by whichever process did that; None while nothing is loaded."""
        return self._instance.baseline if self._instance else None

    def release(self) -> None:
        """Give the room of all that was read back to the kernel."""
        self._remains = [remains for remains in self._remains if not remains.release()]
        self._ring.release()
        self.heartbeat()

    def heartbeat(self) -> None:
        """Tell the programs that somebody reads: pinned ones go quiet after ``QUIET_AFTER_NS`` without."""
        if self._instance:
            self._instance.note_read()

    async def readable(self, woken: asyncio.Event) -> None:
        """Wait until there is something that was not released, or ``woken`` is set."""
        loop = asyncio.get_running_loop()
        # Only for as long as somebody waits: what is held back unreleased keeps the descriptor readable.
        loop.add_reader(self._ring.fileno(), woken.set)
        try:
            await woken.wait()
        finally:
            loop.remove_reader(self._ring.fileno())

    def stop(self) -> None:
        """Detach what is not pinned: where nothing is, nothing more comes into the ring."""
        if self._object:
            self._object.detach()

    def attached(self) -> dict[str, bool]:
        """Every hook of the table, and whether it is attached."""
        used = {choice.hook.name for choice in self.choices if choice.hook} if self._instance else set()
        return {hook.name: hook.name in used for hook in HOOKS}

    @property
    def sees_signals(self) -> bool:
        """Whether a kill can be told from a mere mark."""
        return any(choice.group == TRUTH and choice.hook for choice in self.choices)

    def second_kills(self) -> int:
        """Kills of processes that were marked before: in /proc/vmstat, but no kill of another process."""
        return self.counted().second_kills

    def counted(self) -> Counters:
        """What was counted, by replaced instances too, at one moment; stays readable after the end."""
        # A counter that falls looks like a new start.
        return self._instance.count().plus(self._before) if self._instance else self._counted

    def counted_now(self) -> Counters:
        """What the instance in use has counted: the kernel's count since its baseline is held against that."""
        return self._instance.count() if self._instance else Counters()

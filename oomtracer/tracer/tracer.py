"""From the BPF object to raw records on the event loop."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from oomtracer.errors import OomTracerError, UnsupportedError
from oomtracer.libbpf import BpfObject, Btf, LoadError, RingBuffer, check_layout, extension_size
from oomtracer.tracer.explain import explained, require_privileges
from oomtracer.tracer.hooks import HOOKS, GroupChoice, choose_hooks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger("oomtracer.tracer")

# uname's machine -> the architecture in the object's file name.
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
# Records taken at once before the loop gets its turn: a storm must not hold up /healthz.
BATCH = 64
# BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h.
RING_HEADER_BYTES = 8


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


class Tracer:
    """Loaded and attached inside its context; leaving it leaves nothing in the kernel.

    Entering raises UnsupportedError: missing privileges or BTF, no usable hook, a refused program.
    """

    def __init__(self, *, ring_size_bytes: int) -> None:
        self.choices: tuple[GroupChoice, ...] = ()
        self._ring_size_bytes = ring_size_bytes
        self._stack = ExitStack()
        self._loaded = False
        self._counted = (0, 0)
        self._told_lost = 0

    def __enter__(self) -> Self:
        require_privileges()
        path = object_path()
        with Btf.of_kernel() as kernel:
            self.choices = choose_hooks(kernel.tracepoint_arguments)
        for choice in self.choices:
            if choice.required and choice.hook is None:
                raise UnsupportedError(
                    f"no hook for the {choice.group} group: {choice.reason}",
                    hint="`oomtracer check` shows what this kernel has",
                )
        with self._stack as stack:
            self._object = stack.enter_context(BpfObject(path))
            try:
                self._load()
            except LoadError as error:
                raise explained(error) from error
            self._ring = stack.enter_context(RingBuffer(self._object.map_fd("events")))
            self._stack = stack.pop_all()
        self._loaded = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._counted = self._count()
        self._loaded = False
        self._stack.close()

    def _load(self) -> None:
        check_layout(self._object.btf)
        hooks = [choice.hook for choice in self.choices if choice.hook]
        for hook in hooks:
            self._object.enable(hook.program)
        self._object.set_flag("signals_seen", value=any(hook.group == "truth" for hook in hooks))
        self._object.set_ring_size("events", self._ring_size_bytes)
        self._object.load()
        # The truth group first: a mark whose signal went unseen would be taken for no kill.
        for hook in sorted(hooks, key=lambda hook: hook.group != "truth"):
            self._object.attach(hook.program)
            logger.info("attached %s: %s", hook.name, hook.adds)

    def start(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[bytes], None]) -> None:
        """Hand each record, oldest first, to ``deliver`` on the loop from now on.

        ``failed`` gets an OomTracerError once the ring cannot be read any more.
        """
        self.failed = loop.create_future()

        def drain() -> None:
            try:
                records = self._ring.read(limit=BATCH)
            except OomTracerError as error:
                loop.remove_reader(self._ring.fileno())
                self.failed.set_exception(error)
                return
            for record in records:
                deliver(record)
            if len(records) < BATCH:
                self._tell_losses()

        loop.add_reader(self._ring.fileno(), drain)

    def _tell_losses(self) -> None:
        lost = self.records_lost()
        if lost > self._told_lost:
            logger.error("the ring was full: %d kills lost so far (raise --ring-size)", lost)
        self._told_lost = lost

    def stop(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[bytes], None]) -> None:
        """Detach, then hand over what the ring still holds."""
        loop.remove_reader(self._ring.fileno())
        self._object.detach()
        while records := self._ring.read(limit=BATCH):
            for record in records:
                deliver(record)

    def attached(self) -> dict[str, bool]:
        """Every hook of the table, and whether it is attached."""
        used = {choice.hook.name for choice in self.choices if choice.hook} if self._loaded else set()
        return {hook.name: hook.name in used for hook in HOOKS}

    def records_lost(self) -> int:
        """Records that found the ring full, by the kernel's own count; 0 before anything is loaded."""
        return self._count()[0]

    def second_kills(self) -> int:
        """Kills of processes that were marked before: in /proc/vmstat, but no kill of another process."""
        return self._count()[1]

    def _count(self) -> tuple[int, int]:
        # What was counted stays readable after the end: a counter that falls looks like a new start.
        if not self._loaded:
            return self._counted
        counters = self._object.lookup("counters", "oom_counters")
        return int(counters.ring_full), int(counters.second_kills)

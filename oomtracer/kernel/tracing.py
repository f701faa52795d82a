"""What the kernel's tracing offers that BTF does not tell: events in tracefs, and kprobes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from oomtracer.kernel.facts import SYS

if TYPE_CHECKING:
    from pathlib import Path

# In the order in which libbpf looks: below debugfs where that is mounted.
_TRACEFS = ("kernel/debug/tracing", "kernel/tracing")


def has_event(category: str, name: str, sys: Path = SYS) -> bool:
    """Whether a classic tracepoint can be opened: tracefs is mounted, readable, and has it."""
    mounted = [sys / path for path in _TRACEFS if _is_there(sys / path)]
    return bool(mounted) and _is_there(mounted[0] / "events" / category / name / "id")


def has_kprobes(sys: Path = SYS) -> bool:
    """Whether the kernel was built with kprobes; True where /sys does not tell."""
    devices = sys / "bus/event_source/devices"
    return _is_there(devices / "kprobe") or not _is_there(devices)


def _is_there(path: Path) -> bool:
    """What may not be looked at (debugfs is root's alone) counts as not there; before 3.12 exists() raises."""
    with suppress(OSError):
        return path.exists()
    return False

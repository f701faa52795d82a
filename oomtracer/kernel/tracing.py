"""What the kernel's tracing offers that BTF does not tell: events in tracefs, and kprobes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oomtracer.kernel.facts import SYS

if TYPE_CHECKING:
    from pathlib import Path

# In the order in which libbpf looks: below debugfs where that is mounted.
_TRACEFS = ("kernel/debug/tracing", "kernel/tracing")


def has_event(category: str, name: str, sys: Path = SYS) -> bool:
    """Whether a classic tracepoint can be opened: tracefs is mounted, readable, and has it."""
    # Not Path.exists(), which fails where a directory above is closed to this user.
    mounted = [sys / path for path in _TRACEFS if os.access(sys / path, os.F_OK)]
    return bool(mounted) and os.access(mounted[0] / "events" / category / name / "id", os.R_OK)


def has_kprobes(sys: Path = SYS) -> bool:
    """Whether the kernel was built with kprobes; True where /sys does not tell."""
    devices = sys / "bus/event_source/devices"
    return (devices / "kprobe").exists() or not devices.exists()

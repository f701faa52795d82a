"""Whether this process sees the machine as its first process does, or from inside a container."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from oomtracer.kernel.facts import PROC

if TYPE_CHECKING:
    from pathlib import Path

# The same on every kernel since 3.8: PROC_PID_INIT_INO, include/linux/proc_ns.h.
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


def is_on_host(proc: Path = PROC) -> bool:
    """Whether what is mounted here is mounted for the whole machine.

    That is so in the first pid namespace, in the mount namespace of process 1. False where that may not be asked.
    """
    with suppress(OSError):
        if (proc / "self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE:
            return os.path.samestat((proc / "self/ns/mnt").stat(), (proc / "1/ns/mnt").stat())
    return False

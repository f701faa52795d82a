"""The file system that keeps maps and links in the kernel while no process has them open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError, errno_name

if TYPE_CHECKING:
    from pathlib import Path


def is_bpffs(path: Path) -> bool:
    """Whether a path lies on a bpffs, by the magic number of statfs(2). Raises OomTracerError."""
    answer = lib.oomtracer_is_bpffs(os.fsencode(path))
    if answer < 0:
        raise OomTracerError(f"cannot look at {path}: {errno_name(-answer)}")
    return bool(answer)


def mount_bpffs(path: Path) -> None:
    """Mount one that only its owner may look into. Raises OomTracerError."""
    flags = lib.MS_NOSUID | lib.MS_NODEV | lib.MS_NOEXEC
    if lib.mount(b"bpf", os.fsencode(path), b"bpf", flags, b"mode=0700") < 0:
        raise OomTracerError(f"cannot mount a bpffs on {path}: {errno_name(ffi.errno)}")


def pin(fd: int, path: Path) -> None:
    """Keep the map or link of a descriptor in the kernel until ``path`` is removed. Raises OomTracerError."""
    result = lib.bpf_obj_pin(fd, os.fsencode(path))
    if result < 0:
        raise OomTracerError(f"cannot pin {path}: {errno_name(-result)}")


def wait_for_programs() -> bool:
    """Wait until every BPF program that runs now has ended. False where the kernel cannot (``nohz_full``)."""
    return lib.oomtracer_wait_for_programs() == 0

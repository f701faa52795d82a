"""A thin typed wrapper over libbpf: one file for each of its objects."""

from oomtracer._native import ffi, lib
from oomtracer.libbpf.bpffs import is_bpffs, mount_bpffs, pin, wait_for_programs
from oomtracer.libbpf.btf import Btf, Member, check_layout, extension_size
from oomtracer.libbpf.map import BpfMap, open_pin
from oomtracer.libbpf.object import BpfObject, LoadError
from oomtracer.libbpf.ring import RingBuffer, RingRecord
from oomtracer.libbpf.syslog import read_syslog

RECORD_VERSION: int = lib.OOM_EVENT_VERSION
"""Of the records that this build's program writes."""

__all__ = [
    "RECORD_VERSION",
    "BpfMap",
    "BpfObject",
    "Btf",
    "LoadError",
    "Member",
    "RingBuffer",
    "RingRecord",
    "check_layout",
    "extension_size",
    "is_bpffs",
    "libbpf_version",
    "lock_memory",
    "mount_bpffs",
    "open_pin",
    "pin",
    "read_syslog",
    "trim_memory",
    "wait_for_programs",
]


def libbpf_version() -> str:
    """The libbpf in use, as ``v1.1``."""
    return ffi.string(lib.libbpf_version_string()).decode()


def trim_memory() -> None:
    """Give free memory back to the system: loading needs some MiB for a moment (malloc_trim(3))."""
    lib.malloc_trim(0)


def lock_memory() -> int:
    """Keep every page this process touches in memory from now on. Returns 0 or the errno.

    ``MCL_ONFAULT`` (Linux 4.4): pages are locked when first touched, so untouched mappings cost nothing.
    """
    if lib.mlockall(lib.MCL_CURRENT | lib.MCL_FUTURE | lib.MCL_ONFAULT) == 0:
        return 0
    return ffi.errno

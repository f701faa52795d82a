"""Why a load was refused, and what to do about it: the hint behind a LoadError."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from oomtracer.errors import UnsupportedError
from oomtracer.kernel import facts
from oomtracer.kernel.privileges import Capability, effective_capabilities

if TYPE_CHECKING:
    from oomtracer.libbpf import LoadError

NEEDED = (Capability.BPF, Capability.PERFMON)
GRANT = (
    "run as root, or grant CAP_BPF and CAP_PERFMON (systemd: AmbientCapabilities=, "
    "Kubernetes: securityContext.capabilities.add)"
)


def missing_capabilities() -> tuple[str, ...]:
    """Names of the capabilities that loading needs and this process has not."""
    have = effective_capabilities()
    return tuple(f"CAP_{capability.name}" for capability in NEEDED if capability not in have)


def require_privileges() -> None:
    """Raise UnsupportedError before any attempt, where it could only fail."""
    missing = missing_capabilities()
    if missing:
        raise UnsupportedError(f"cannot load BPF programs without {' and '.join(missing)}", hint=GRANT)


def explained(error: LoadError) -> UnsupportedError:
    """The same error with the hint that fits this machine."""
    error.hint = _hint(error)
    return error


def _hint(error: LoadError) -> str:
    if facts.lockdown() == "confidentiality":
        return "the kernel is locked down (confidentiality): boot with lockdown=integrity, or none"
    if error.number in (errno.EMFILE, errno.ENFILE):
        return "this process may open too few files: raise RLIMIT_NOFILE (systemd: LimitNOFILE=)"
    if error.number in (errno.EPERM, errno.ENOSYS):
        return (
            "the kernel forbids bpf() here although the capabilities are there: look for a seccomp profile that "
            "blocks bpf(2), a user namespace, or RLIMIT_MEMLOCK before Linux 5.11 (CAP_SYS_RESOURCE)"
        )
    if error.number in (errno.ENOMEM, errno.E2BIG):
        return "memory for BPF maps is charged to this cgroup: raise its limit, or lower --ring-size"
    return "run with --log-level debug for the whole log of libbpf and the verifier, and report it"

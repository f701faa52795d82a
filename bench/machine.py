"""The machine that was measured: numbers mean nothing without it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from oomtracer.kernel import facts
from oomtracer.libbpf import libbpf_version

PROC = Path("/proc")


def describe() -> dict[str, str]:
    """Facts by their name."""
    return {
        "kernel": f"{platform.release()} {platform.machine()}",
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.1f} GiB",
        "cgroups": facts.memory_cgroup_mount()[1],
        "load before": f"{os.getloadavg()[0]:.2f}",
        "interpreter": _interpreter(),
        "libbpf": libbpf_version(),
        "revision": _revision(),
    }


def _processor() -> str:
    text = (PROC / "cpuinfo").read_text()
    names = re.findall(r"^(?:model name|Processor|CPU part)\s*: (.+)$", text, re.MULTILINE)
    return names[0] if names else "unknown"


def _interpreter() -> str:
    """Whose build, and whether its code is a library. Its options are not told: Debian's does not know them."""
    library = "libpython" in (PROC / "self/maps").read_text()
    linked = "shared libpython" if library else "libpython built in"
    compiler = platform.python_compiler()
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {_origin()} ({linked}, {compiler})"
    )


def _origin() -> str:
    known = {"/usr": "the distribution's", "/usr/local": "in /usr/local"}
    return known.get(sys.base_prefix, "a build of its own")


def _revision() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

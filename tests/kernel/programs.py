"""Our programs in the kernel, whoever has loaded them."""

from __future__ import annotations

import re
import subprocess

from tests.kernel.waiting import wait_until


def loaded() -> set[str]:
    """The ids of our programs in the kernel."""
    programs = subprocess.run(["bpftool", "prog", "show"], capture_output=True, text=True, check=True).stdout
    names = "mark_victim_|signal_generat|out_of_memory_"
    return set(re.findall(rf"^(\d+): .* name (?:{names})", programs, re.MULTILINE))


def wait_for_none_but(before: set[str]) -> None:
    """The kernel frees programs a little after the last descriptor is closed."""
    wait_until(lambda: loaded() <= before, "our programs are gone")

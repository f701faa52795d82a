"""Thousands of kills in a row under one agent with journal and pins, and what it takes of memory meanwhile.

By hand, ten thousand: ``python -m tests.kernel.endurance --kills 10000`` (``make soak``).
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.agent import Agent
from tests.kernel.conftest import Grow
from tests.kernel.kept import SERVED, kept_in, pinned_in, value_of
from tests.kernel.soak import place, verdict
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES, kernel_kills

if TYPE_CHECKING:
    from tests.kernel.conftest import CgroupMaker

STORMS, EACH = 2, 250
MAY_GROW_BYTES = 1 << 20
_KIB = 1 << 10


@dataclass
class Endurance:
    """What came of it: private memory (bytes) after each so many kills, and the kills by three counts."""

    reports: int = 0
    kernel_kills: int = 0
    lost: float = 0
    seconds: float = 0.0
    private_bytes: dict[int, int] = field(default_factory=dict)

    def growth_bytes(self, after: int) -> int:
        """From the first measurement after so many kills to the last one."""
        later = [size for kills, size in self.private_bytes.items() if kills >= after]
        return later[-1] - later[0]

    def __str__(self) -> str:
        sizes = ", ".join(f"{kills}: {size // _KIB} KiB" for kills, size in self.private_bytes.items())
        return (
            f"{self.reports} reports of {self.kernel_kills} kills in {self.seconds:.0f} s, {self.lost:g} lost; "
            f"private memory after {sizes}"
        )


def private_bytes(pid: int) -> int:
    """Memory that is a process's alone: it would be free if the process ended."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith(("Private_", "Swap:")))


def endure(
    directory: Path, pin_path: Path, make_cgroup: CgroupMaker, grow: Grow, *, kills: int, say: bool = False
) -> Endurance:
    """Make so many kills, in rounds of several storms at once, and measure after each round."""
    result, before, begun_s = Endurance(), kernel_kills(), time.monotonic()
    cgroups = [make_cgroup(f"/oomtracer-test/{i}").limit(STORM_LIMIT_BYTES) for i in range(STORMS)]
    flags = (*kept_in(directory / "state"), *pinned_in(pin_path), "--state-max-size", "4MiB", *SERVED)
    with Agent(*flags) as agent:
        while result.reports < kills:
            with ExitStack() as stack:
                for cgroup in cgroups:
                    stack.enter_context(grow.start(cgroup, "storm", STORM_BYTES, str(EACH)))
                for _ in range(STORMS * EACH):
                    assert agent.reports.next() is not None
                    agent.reports.all.clear()
            result.reports += STORMS * EACH
            result.lost = sum(
                value_of(agent, "lost_events_total", stage=stage)
                for stage in ("ring_full", "over_share", "stdout")
            )
            result.private_bytes[result.reports] = private_bytes(agent.pid)
            if say:
                print(f"{result.reports}: {result.private_bytes[result.reports] // _KIB} KiB", flush=True)
        assert agent.stop() == (0, [])
    result.kernel_kills = kernel_kills() - before
    result.seconds = time.monotonic() - begun_s
    return result


def faults(result: Endurance, *, after: int) -> list[str]:
    """What is not as promised."""
    wrong = []
    if result.reports != result.kernel_kills or result.lost:
        wrong.append(f"{result.reports} reports, {result.kernel_kills} kills, {result.lost} lost")
    if (growth := result.growth_bytes(after)) > MAY_GROW_BYTES:
        wrong.append(f"memory grew by {growth // _KIB} KiB after {after} kills")
    return wrong


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.endurance", description=__doc__)
    parser.add_argument("--kills", type=int, default=10_000)
    options = parser.parse_args(arguments)
    with place() as here:
        grow = Grow(here.victim)
        result = endure(here.directory, here.pin_path, here.cgroups, grow, kills=options.kills, say=True)
    print(result)
    wrong = faults(result, after=options.kills // 5)
    return verdict(wrong, "every kill was told, and memory stayed as it was")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

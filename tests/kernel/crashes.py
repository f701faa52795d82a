"""Kills the agent itself at random instants while the kernel kills others, and starts it again each time.

By hand, a thousand times: ``python -m tests.kernel.crashes --cycles 1000`` (``make soak``).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kernel.agent import COMMAND, run_oomtracer
from tests.kernel.kernel_log import KernelLog
from tests.kernel.soak import place, verdict
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES, kernel_kills
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.conftest import Cgroup


# An agent is up after some 0.7 s, and everything before that is an instant to be killed at as well.
LONGEST_LIFE_S = 1.4
MOST_KILLS = 60


@dataclass
class Crashes:
    """What came of some cycles. ``told`` and ``kept`` are report ids: on standard output, and in the journal."""

    cycles: int = 0
    kills: int = 0
    kernel_kills: int = 0
    logged_pids: Counter[int] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    kept_pids: Counter[int] = field(default_factory=Counter)

    def faults(self) -> list[str]:
        """What is not as promised; empty: every kill is kept once, and was told."""
        wrong = []
        if self.kernel_kills != self.kills:
            wrong.append(f"the kernel made {self.kernel_kills} kills, not {self.kills}")
        if self.kept_pids != self.logged_pids:
            missing, beyond = self.logged_pids - self.kept_pids, self.kept_pids - self.logged_pids
            wrong.append(f"not in the journal: {sorted(missing)[:9]}; there too often: {sorted(beyond)[:9]}")
        again = sum(self.told.values()) - len(self.told)
        if again > self.cycles:
            wrong.append(f"{again} were told again: more than one for each death")
        if set(self.told) != set(self.kept):
            wrong.append(f"not told: {len(set(self.kept) - set(self.told))} kills")
        return wrong

    def __str__(self) -> str:
        again = sum(self.told.values()) - len(self.told)
        return (
            f"{self.kills} kills, {self.kernel_kills} by the kernel's count, {len(self.kept)} in the journal, "
            f"{len(self.told)} told, {again} of them told again"
        )


class CrashingAgent:
    """``oomtracer run`` with journal and pins, its output in a file that all its lives share."""

    def __init__(self, directory: Path, pin_path: Path, *flags: str, prefix: Sequence[str] = ()) -> None:
        self._command = [*prefix, *COMMAND, "run", "--output", "json"]
        self.state = directory / "state"
        self.output = directory / "reports.jsonl"
        self.log = directory / "log"
        # Room for all kills of a row of lives that were too short to read any: more than half of a ring is nobody's.
        room = ("--ring-size", "8MiB", "--state-max-size", "1GiB")
        self._flags = ("--state-dir", str(self.state), "--pin-path", str(pin_path), *room, *flags)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; it may not be up for a while."""
        with self.output.open("ab") as output, self.log.open("ab") as log:
            return subprocess.Popen([*self._command, *self._flags], stdout=output, stderr=log)

    def history(self) -> list[dict[str, Any]]:
        """What the journal keeps."""
        done = run_oomtracer("history", "--state-dir", str(self.state), "--output", "json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def told(self) -> list[dict[str, Any]]:
        """All lines of standard output."""
        return [json.loads(line) for line in self.output.read_bytes().splitlines()]


def crash(
    agent: CrashingAgent, victim: str, cgroup: Cgroup, *, cycles: int, seed: int, say: bool = False
) -> Crashes:
    """Run so many cycles, then one life to its proper end, and count."""
    dice, result, log, before = random.Random(seed), Crashes(), KernelLog(), kernel_kills()
    since_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    cgroup.limit(STORM_LIMIT_BYTES)
    result.cycles = cycles
    _begin(agent)
    for cycle in range(cycles):
        kills = dice.randint(1, MOST_KILLS)
        process = agent.start()
        _pause(dice.uniform(0, LONGEST_LIFE_S / 2))
        with subprocess.Popen([victim, cgroup.procs, "storm", str(STORM_BYTES), str(kills)]) as storm:
            _pause(dice.uniform(0, LONGEST_LIFE_S / 2))
            ended = process.poll()
            process.kill()
            process.wait()
            assert storm.wait(60) == 0
        assert ended is None, f"the agent ended by itself: {agent.log.read_text()[-2000:]}"
        result.kills += kills
        result.logged_pids.update(log.new_pids())
        if say and cycle % 20 == 19:
            print(f"{cycle + 1} cycles, {result.kills} kills", flush=True)
    _end_properly(agent, result)
    log.close()
    result.kernel_kills = kernel_kills() - before
    # What the log had from before, it has told as well.
    result.told = Counter(each["id"] for each in agent.told() if each["boot_time_ns"] > since_ns)
    kept = [each for each in agent.history() if each["boot_time_ns"] > since_ns]
    result.kept = Counter(each["id"] for each in kept)
    result.kept_pids = Counter(each["victim"]["pid"] for each in kept)
    return result


def _begin(agent: CrashingAgent) -> None:
    """One life that is long enough to attach: kills from before that are another promise."""
    process = agent.start()
    try:
        wait_until(lambda: "kernel log: " in agent.log.read_text(), "it traces")
    finally:
        process.kill()
        process.wait()


def _end_properly(agent: CrashingAgent, result: Crashes) -> None:
    process = agent.start()
    try:
        wait_until(lambda: len(agent.history()) >= result.kills, "all in the journal", 60)
    except AssertionError:
        print(agent.log.read_text()[-3000:], file=sys.stderr)
        print(f"{len(agent.history())} of {result.kills}", file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert process.returncode == 0, agent.log.read_text()[-2000:]


def _pause(seconds: float) -> None:
    # Not for something to be ready: the instant itself is what is tried.
    time.sleep(seconds)


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.crashes", description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    with place() as here:
        agent = CrashingAgent(here.directory, here.pin_path)
        cgroup = here.cgroups("/oomtracer-soak")
        result = crash(agent, here.victim, cgroup, cycles=options.cycles, seed=options.seed, say=True)
    print(result)
    return verdict(result.faults(), "every kill is in the journal once, and was told")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

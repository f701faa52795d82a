"""``python bench``: what the agent costs on this machine, measured with real, contained OOM kills.

Informational: no number fails it. As root, alone on the machine: it holds the lock of the kernel tests.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import machine
from agent import BenchError, environment
from kills import Victims
from measure import measure
from plan import FULL, QUICK
from table import markdown, rows

# The same as in tests/conftest.py.
LOCK = Path("/run/oomtracer-tests.lock")
MOST_STORMS = 4


def main() -> None:
    """Measure and print."""
    flags = _flags()
    if os.geteuid() != 0:
        sys.exit("error: real OOM kills need root\nhint: run `sudo make bench`")
    plan = QUICK if flags.quick else FULL
    if flags.starts:
        plan = replace(plan, starts=flags.starts)
    with ExitStack() as stack:
        if not flags.lock_held:
            _lock(stack)
        facts = machine.describe()
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oomtracer-bench-")))
        storms = min(os.cpu_count() or 1, MOST_STORMS)
        victims = stack.enter_context(Victims(directory, storms=storms))
        results = measure(plan, environment(directory / "bytecode"), victims, _say)
    table = rows(results)
    if flags.json:
        document = {
            "machine": facts,
            "plan": asdict(plan),
            "results": asdict(results),
            "rows": [asdict(row) for row in table],
        }
        flags.json.write_text(json.dumps(document, indent=1) + "\n")
    print(markdown(facts, table))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs, to see that it works")
    parser.add_argument("--starts", type=int, metavar="N", help=f"starts of each kind [{FULL.starts}]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here, too")
    parser.add_argument(
        "--lock-held", action="store_true", help="the caller holds the lock of the kernel tests"
    )
    return parser.parse_args()


def _lock(stack: ExitStack) -> None:
    """One at a time makes kills on this machine: the counters compared with are machine-wide."""
    lock = stack.enter_context(LOCK.open("w"))
    _say("waiting for the lock of the kernel tests")
    fcntl.flock(lock, fcntl.LOCK_EX)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"error: {error}")

"""``python bench``: what the agent costs on this machine, measured with real, contained OOM kills.

Informational: no number fails it. As root, on a quiet machine: while it makes kills, it holds the lock of the kernel
tests.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import machine
from agent import BenchError, environment
from cluster import measure_cluster
from cluster_table import cluster_rows
from context import Context
from journal import journal_rows, measure_journal
from kills import Victims
from measure import measure
from plan import FULL, FULL_CLUSTER, QUICK, QUICK_CLUSTER
from table import Row, markdown, rows

MOST_STORMS = 4


def main() -> None:
    """Measure and print."""
    flags = _flags()
    # No agent and no cgroup stays behind, whoever ends this.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if os.geteuid() != 0:
        sys.exit("error: real OOM kills need root\nhint: run `sudo make bench`")
    plan = QUICK if flags.quick else FULL
    if flags.starts:
        plan = replace(plan, starts=flags.starts)
    cluster_plan = QUICK_CLUSTER if flags.quick else FULL_CLUSTER
    facts = machine.describe()
    document: dict[str, Any] = {"machine": facts}
    table: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oomtracer-bench-")))
        context = Context(
            environment=environment(folder / "bytecode"), folder=folder, is_locked=flags.lock_held
        )
        storms = min(os.cpu_count() or 1, MOST_STORMS)
        victims = stack.enter_context(Victims(folder, storms=storms))
        if flags.only in (None, "journal"):
            journal = measure_journal(plan.journal_batches, context)
            document |= {"plan": asdict(plan), "journal_results": asdict(journal)}
            table += journal_rows(journal)
        if flags.only in (None, "host"):
            host = measure(plan, context, victims)
            document |= {"plan": asdict(plan), "results": asdict(host)}
            table += rows(host)
        if flags.only in (None, "cluster"):
            cluster = measure_cluster(cluster_plan, context, victims.program)
            document |= {"cluster_plan": asdict(cluster_plan), "cluster_results": asdict(cluster)}
            table += cluster_rows(cluster)
    if flags.json:
        document["rows"] = [asdict(row) for row in table]
        flags.json.write_text(json.dumps(document, indent=1) + "\n")
    print(markdown(facts, table))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs, to see that it works")
    parser.add_argument("--only", choices=("host", "cluster", "journal"), help="one part of it")
    parser.add_argument("--starts", type=int, metavar="N", help=f"starts of each kind [{FULL.starts}]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here, too")
    parser.add_argument(
        "--lock-held", action="store_true", help="the caller holds the lock of the kernel tests"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"error: {error}")

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.kernel


def check_memory(memory: dict[str, int]) -> None:
    """What is mapped alone is a part of the share, and that a part of all."""
    assert 0 < memory["uss_bytes"] <= memory["pss_bytes"] <= memory["rss_bytes"]
    assert 0 < memory["anonymous_bytes"] <= memory["rss_bytes"]


def check_mode(mode: dict[str, Any], plan: dict[str, Any], ring_size_bytes: int) -> None:
    """As many numbers as the plan asks for, each possible."""
    attached, tracing = mode["starts"]["attached_seconds"], mode["starts"]["tracing_seconds"]
    assert len(attached) == len(tracing) == plan["starts"]
    assert all(0 < a < t for a, t in zip(attached, tracing, strict=True))
    for memory in (mode["start_memory"], mode["warm_memory"], mode["storm_memory"]):
        check_memory(memory)
        assert ring_size_bytes <= memory["ring_bytes"] < memory["pss_bytes"]
    storm = mode["storm"]
    assert storm["lost"] == 0
    assert storm["cpu_seconds_per_kill"] > 0
    for latency, kills in ((mode["latency_ns"], "paced_kills"), (storm["latency_ns"], "storm_kills")):
        assert len(latency) == plan[kills]
        assert min(latency) > 0
    assert 0 <= mode["idle"]["cpu_seconds"] < mode["idle"]["seconds"]
    assert mode["idle"]["threads"] >= 1
    assert mode["backlog_reports_per_second"] > 0


def test_the_bench_measures_everything(tmp_path: Path) -> None:
    """A quick run prints a row for each thing measured and writes numbers that fit each other."""
    out = tmp_path / "out.json"
    command = [sys.executable, "bench", "--quick", "--lock-held", "--json", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    results = document["results"]
    assert all(document["machine"].values())
    assert all(f"| {row['name']} " in done.stdout for row in document["rows"])
    check_memory(results["bare_memory"])
    for mode in (results["host"], results["metrics"]):
        check_mode(mode, document["plan"], results["ring_size_bytes"])
        assert min(results["bare_start_seconds"]) < min(mode["starts"]["attached_seconds"])
        assert results["bare_memory"]["anonymous_bytes"] < mode["start_memory"]["anonymous_bytes"]
    assert {row["within"] for row in document["rows"] if row["budget"]} <= {True, False}

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.kernel


def run_bench(out: Path, part: str) -> dict[str, Any]:
    """A quick run of one part: what it wrote, after a look at what it printed."""
    command = [sys.executable, "bench", "--quick", "--lock-held", "--only", part, "--json", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(out.read_text())
    assert all(document["machine"].values())
    assert all(f"| {row['name']} " in done.stdout for row in document["rows"])
    assert {row["within"] for row in document["rows"] if row["budget"]} <= {True, False}
    return document


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


def check_node(node: dict[str, Any], pods: int, pods_elsewhere: int = 0) -> None:
    """The pods that the plan asks for, of a real pod's size, and an agent that asked for no others."""
    assert (node["pods"], node["pods_elsewhere"]) == (pods, pods_elsewhere)
    assert 12_000 <= node["pod_bytes"][0] <= node["pod_bytes"][1] <= 20_000
    assert node["foreign_requests"] == 0
    assert min(node["synced_seconds"]) > 0
    check_memory(node["synced_memory"])
    check_memory(node["after_memory"])
    assert node["peak_rss_bytes"] > 0
    assert node["changes"]["count"] > 0


def test_the_bench_measures_everything_on_a_host(tmp_path: Path) -> None:
    """A quick run prints a row for each thing measured and writes numbers that fit each other."""
    document = run_bench(tmp_path / "out.json", "host")
    results = document["results"]
    check_memory(results["bare_memory"])
    for mode in (results["host"], results["metrics"]):
        check_mode(mode, document["plan"], results["ring_size_bytes"])
        assert min(results["bare_start_seconds"]) < min(mode["starts"]["attached_seconds"])
        assert results["bare_memory"]["anonymous_bytes"] < mode["start_memory"]["anonymous_bytes"]


def test_the_bench_measures_the_journal(tmp_path: Path) -> None:
    """A quick run writes as many batches of both sizes as the plan asks for."""
    document = run_bench(tmp_path / "out.json", "journal")
    results = document["journal_results"]
    assert results["open_seconds"] > 0
    for name in ("one_seconds", "many_seconds"):
        assert len(results[name]) == document["plan"]["journal_batches"]
        assert min(results[name]) > 0
    for name in ("before_memory", "open_memory", "after_memory"):
        check_memory(results[name])


def test_the_bench_measures_everything_in_a_cluster(tmp_path: Path) -> None:
    """So does one with a cluster: every kill was marked, after it happened, and changes elsewhere cost nothing."""
    document = run_bench(tmp_path / "out.json", "cluster")
    plan, results = document["cluster_plan"], document["cluster_results"]
    check_node(results["usual"], plan["pods"])
    check_node(results["crowded"], plan["many_pods"])
    check_node(results["large"], plan["pods"], plan["cluster_pods"] - plan["pods"])
    assert len(results["usual"]["synced_seconds"]) == plan["starts"]
    assert results["large"]["changes"]["cpu_seconds"] < results["usual"]["changes"]["cpu_seconds"]
    for latency in ("latency_ns", "new_latency_ns", "busy_latency_ns"):
        assert len(results[latency]) == plan["marks"]
        assert min(results[latency]) > 0
    storm = results["storm"]
    assert len(storm["killed_ns"]) == len(storm["marked_ns"]) == plan["storm_marks"]
    assert all(k < m for k, m in zip(storm["killed_ns"], storm["marked_ns"], strict=True))
    imports = results["imports"]
    assert imports["aiohttp"]["modules"] < imports["lean"]["modules"] < imports["ordinary"]["modules"]
    check_memory(results["quiet"]["memory"])

"""Paths found on real machines (``paths.toml``) and whose they are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from oomtracer.cgroups import is_selftest, limit_owner, workload_of
from oomtracer.events import LimitOwner, Runtime, Workload, WorkloadKind

ROWS: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("paths.toml").read_text(encoding="utf-8")
)["path"]
NAMES = [f"{row['kind']}: {row['note']}" for row in ROWS]


def expected_workload(row: dict[str, Any]) -> Workload:
    """Fill in what a row leaves out."""
    runtime = row.get("runtime")
    return Workload(
        kind=WorkloadKind(row["kind"]),
        pod_uid=row.get("pod_uid"),
        container_id=row.get("container_id"),
        runtime=Runtime(runtime) if runtime else None,
        static=row.get("static"),
        unit=row.get("unit"),
        slice=row.get("slice"),
        resolved=row["kind"] != "pod",
    )


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_workload(row: dict[str, Any]) -> None:
    """Every known path is attributed to exactly its pod, container, unit or to the host."""
    assert workload_of(row["path"], row.get("unified")) == expected_workload(row)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_limit_owner(row: dict[str, Any]) -> None:
    """Every known path, as the place of a limit, stands for exactly one kind of owner."""
    assert limit_owner(row["path"]) is LimitOwner(row["limit_owner"])


def test_table_is_broad() -> None:
    """The table shows every kind, every runtime and every owner of a limit."""
    assert {row["kind"] for row in ROWS} == set(WorkloadKind)
    assert {row["runtime"] for row in ROWS if "runtime" in row} == set(Runtime)
    assert {row["limit_owner"] for row in ROWS} == set(LimitOwner)


@pytest.mark.parametrize(
    ("cgroup", "unified", "unit"),
    [
        ("/system.slice/a.service", "/system.slice/b.service", "a.service"),
        ("/system.slice/a.service", "/", "a.service"),
        ("/system.slice", "/user.slice", "system.slice"),
        ("/", "/system.slice/b.service", "b.service"),
        ("/mygroup", "/system.slice/b.service", "b.service"),
        ("/", "/", None),
    ],
)
def test_unified_adds_and_never_overrules(cgroup: str, unified: str, unit: str | None) -> None:
    """The unified path is read only where the memory controller's path tells less of the same."""
    assert workload_of(cgroup, unified).unit == unit


@pytest.mark.parametrize(
    "cgroup",
    ["/oomtracer-selftest-1", "/oomtracer-selftest-4242-ab/leaf", "/oomtracer-selftest-x/a/b"],
)
def test_selftest(cgroup: str) -> None:
    """A kill in a top-level self-test cgroup, or below one, is a self-test's."""
    assert is_selftest(cgroup)


@pytest.mark.parametrize(
    "cgroup",
    [
        "/oomtracer-selftest-",
        "/oomtracer-selftest-/a",
        "/oomtracer-selftest",
        "/system.slice/oomtracer-selftest-1",
        "/kubepods/pod0125ec2f-16b7-4a49-bb9e-8ec1f1f4e27f/oomtracer-selftest-1",
        "/../oomtracer-selftest-1",
        "/x-oomtracer-selftest-1",
        "oomtracer-selftest-1",
        "//oomtracer-selftest-1",
        "/\noomtracer-selftest-1",
        "",
    ],
)
def test_not_selftest(cgroup: str) -> None:
    """The name counts at the top level alone: anywhere else a pod could have made it to hide a kill."""
    assert not is_selftest(cgroup)

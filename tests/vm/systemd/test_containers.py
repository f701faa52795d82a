"""A container whose cgroup systemd makes, as Podman asks for it on a host with systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.agent import Agent
from tests.kernel.test_reports import assert_agrees
from tests.vm.containers import LIMIT_BYTES, make_bundle, make_root, run_until_killed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.kernel_log import KernelLog

CONTAINER_ID = "0123456789abcdef" * 4
SCOPE = f"libpod-{CONTAINER_ID}.scope"


def test_a_container_in_a_scope(tmp_path: Path, victim: str, kernel_log: KernelLog) -> None:
    """Container, id and runtime by the scope's name; the limit is the container's; the unit is told too."""
    (tmp_path / "bundle").mkdir()
    root = make_root(tmp_path / "root", victim)
    bundle = make_bundle(tmp_path / "bundle", root, f"machine.slice:libpod:{CONTAINER_ID}")
    with Agent() as agent:
        run_until_killed("crun", "--systemd-cgroup", "run", f"--bundle={bundle}", "victim")
        report = agent.report()
        assert agent.stop() == (0, [])
    logged = kernel_log.kill_of(report["victim"]["tid"])
    assert_agrees(report, logged)
    workload = report["workload"]
    told = [workload[key] for key in ("kind", "container_id", "runtime", "unit", "slice")]
    assert told == ["container", CONTAINER_ID, "podman", SCOPE, "machine.slice"]
    limit = report["limit"]
    assert (limit["owner"], limit["certain"]) == ("container", True)
    assert (limit["cgroup"], limit["limit_bytes"]) == (logged.oom_memcg, LIMIT_BYTES)
    assert limit["cgroup"].startswith(f"/machine.slice/{SCOPE}")
    assert (report["victim"]["container_pid"], report["init_died"]) == (1, True)

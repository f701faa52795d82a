"""crun and runc without an engine above them: the cgroup is whatever the bundle asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.test_reports import assert_agrees
from tests.vm.containers import make_bundle, run_until_killed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.kernel_log import KernelLog

CONTAINER_ID = "0123456789abcdef" * 4
# What engines ask for, and who is told by it.
PATHS = {
    f"/docker/{CONTAINER_ID}": ("container", CONTAINER_ID, "docker"),
    f"/libpod_parent/libpod-{CONTAINER_ID}": ("container", CONTAINER_ID, "podman"),
    "/by-hand": ("host", None, None),
}


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize(("path", "told"), PATHS.items())
def test_a_container_of_a_runtime(
    tmp_path: Path,
    root_directory: Path,
    kernel_log: KernelLog,
    runtime: str,
    path: str,
    told: tuple[str | None, ...],
) -> None:
    """The names in its cgroup's path tell container and engine; a name that says nothing is nobody's."""
    bundle = make_bundle(tmp_path, root_directory, path)
    with Agent() as agent:
        run_until_killed(runtime, "run", f"--bundle={bundle}", "victim")
        report = agent.report()
        assert agent.stop() == (0, [])
    logged = kernel_log.kill_of(report["victim"]["tid"])
    assert_agrees(report, logged)
    workload = report["workload"]
    assert (workload["kind"], workload["container_id"], workload["runtime"]) == told
    assert (report["limit"]["cgroup"], report["limit"]["certain"]) == (path, True)
    assert report["victim"]["container_pid"] == 1

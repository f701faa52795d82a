"""Containers of podman's that reach their memory limit: whose they are, by which process, and what died."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.test_reports import assert_agrees
from tests.kernel.waiting import wait_until
from tests.vm.containers import GROW, LIMIT_BYTES, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.agent import Report
    from tests.kernel.kernel_log import KernelLog

NAME = "nightly-report"


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """One agent for all tests of this module."""
    with Agent() as running:
        yield running


@pytest.fixture(params=["crun", "runc"])
def container(request: pytest.FixtureRequest, image: str) -> Iterator[Container]:
    """How to start a container with a limit, by each of Debian's runtimes."""
    made = Container(request.param, image)
    yield made
    run("podman", "rm", "--force", "--time=0", NAME)


class Container:
    """A detached container with a memory limit of 16 MiB."""

    def __init__(self, runtime: str, image: str) -> None:
        self._create = ("podman", f"--runtime={runtime}", "run", "--detach", f"--name={NAME}")
        self._image = image

    def start(self, *command: str) -> str:
        """Start it; its id as podman tells it."""
        limits = ("--memory=16m", "--memory-swap=16m", "--network=none")
        return run(*self._create, *limits, self._image, *command)


def assert_is_podmans(report: Report, kernel_log: KernelLog, container_id: str) -> None:
    """Attributed to the container with podman's own id, by a certain limit, as the kernel's log has it."""
    logged = kernel_log.kill_of(report["victim"]["tid"])
    assert_agrees(report, logged)
    workload = report["workload"]
    assert (workload["kind"], workload["runtime"]) == ("container", "podman")
    assert workload["container_id"] == container_id
    limit = report["limit"]
    assert (limit["owner"], limit["certain"]) == ("container", True)
    assert (limit["cgroup"], limit["limit_bytes"]) == (logged.oom_memcg, LIMIT_BYTES)
    assert container_id in limit["cgroup"]


def test_the_main_process_of_a_container(agent: Agent, container: Container, kernel_log: KernelLog) -> None:
    """Process 1 inside: podman says OOMKilled, the report says that the container's process 1 died."""
    container_id = container.start(*GROW)
    report = agent.report()
    assert_is_podmans(report, kernel_log, container_id)
    assert (report["victim"]["container_pid"], report["init_died"]) == (1, True)
    assert report["victim"]["comm"] == "victim"
    run("podman", "wait", NAME)
    [state] = json.loads(run("podman", "inspect", NAME))
    assert state["Id"] == container_id
    assert state["State"]["ExitCode"] == 128 + 9


def test_another_process_of_a_container(agent: Agent, container: Container, kernel_log: KernelLog) -> None:
    """One that podman does not tell: the container runs on, and the report says that its process 1 lives."""
    command = f"{' '.join(GROW)} & while true; do busybox sleep 1; done"
    container_id = container.start("/bin/sh", "-c", command)
    report = agent.report()
    assert_is_podmans(report, kernel_log, container_id)
    assert report["victim"]["container_pid"] > 1
    assert report["init_died"] is False
    [state] = json.loads(run("podman", "inspect", NAME))
    assert state["State"]["Running"]


def test_a_command_inside_a_container(agent: Agent, container: Container, kernel_log: KernelLog) -> None:
    """What podman exec starts belongs to the container that it runs in."""
    container_id = container.start("/bin/sh", "-c", "while true; do busybox sleep 1; done")
    run("podman", "exec", "--detach", NAME, *GROW)
    report = agent.report()
    assert_is_podmans(report, kernel_log, container_id)
    assert report["init_died"] is False
    wait_until(lambda: NAME in run("podman", "ps", "--format={{.Names}}"), "the container runs on")

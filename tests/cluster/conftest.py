"""What these tests share: pods that can be killed in, and an agent that marks whatever it may."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.kubelet import NAMESPACE, Kubelet
from tests.cluster.scene import ANY_LIMIT, LABEL, Node, fenced, wait_gently
from tests.kernel.conftest import CgroupMaker, Grow, grow, make_cgroup, victim
from tests.kube.apiserver import ThreadedApiServer, make_pod

if TYPE_CHECKING:
    from collections.abc import Iterator

SUCCESSOR = "replaced-0"
PREDECESSORS_UID = "5f0c1d2e-7a44-4b8e-9d13-2f60c1a7b9e4"

__all__ = ["grow", "make_cgroup", "victim"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder makes real kills."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture
def api() -> Iterator[ThreadedApiServer]:
    """An API server of the test's own."""
    with ThreadedApiServer() as server:
        yield server


@pytest.fixture
def kubelet(make_cgroup: CgroupMaker, grow: Grow, victim: str) -> Kubelet:
    """Pods for one test."""
    return Kubelet(make_cgroup, grow, victim)


# Not for the session: nobody reads what they tell of the storms of other folders.
@pytest.fixture(scope="package")
def any_node(machine: None, victim: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose agent marks for any limit; the first kill it has seen is of SUCCESSOR's predecessor."""
    with fenced(tmp_path_factory.mktemp("any"), *ANY_LIMIT) as node:
        _lose_a_predecessor(node, victim)
        yield node


def _lose_a_predecessor(node: Node, victim: str) -> None:
    """Kill in the cgroup of a pod that only has a successor: after 30 s it is certain that no pod is found."""
    maker = CgroupMaker()
    kubelet = Kubelet(maker, Grow(victim), victim)
    node.api.add_pod(make_pod(SUCCESSOR, namespace=NAMESPACE))
    predecessor = kubelet.make_cgroups(PREDECESSORS_UID, SUCCESSOR)
    node.agent.wait_to_know(predecessor)
    kubelet.kill(predecessor)
    for directory in reversed(maker.made):
        wait_gently(partial(_is_removed, directory), f"removed {directory}")


def _is_removed(directory: Path) -> bool:
    with suppress(OSError):  # busy for a moment after its last process
        directory.rmdir()
    return not directory.exists()


@pytest.fixture(scope="package")
def quiet_node(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The same without Events, of which an agent sends no more than one a second; the mark is a label too."""
    flags = ("--victim-label", f"{LABEL}=true", "--no-events")
    with fenced(tmp_path_factory.mktemp("quiet"), *ANY_LIMIT, *flags) as node:
        yield node

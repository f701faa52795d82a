"""Real, contained kills in cgroups that are named as kubelet names those of known pods."""

from __future__ import annotations

import subprocess
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from agent import DEADLINE_SECONDS, BenchError
from kills import limit, remove

from oomtracer.kernel import facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from api_process import KnownPod

MIB = 1 << 20
LIMIT_BYTES, BYTES = 2 * MIB, 4 * MIB


class PodVictims:
    """Processes of ``program`` that the kernel kills in the containers of these pods."""

    def __init__(self, program: Path, cgroups: dict[KnownPod, Path]) -> None:
        self._program = program
        self._cgroups = cgroups

    def start(self, pod: KnownPod) -> subprocess.Popen[bytes]:
        """Start a process in the pod's container that will be killed there."""
        return subprocess.Popen([self._program, self._cgroups[pod] / "cgroup.procs", "grow", str(BYTES)])

    def kill_all(self, *, at_once: int) -> None:
        """One kill in each pod, so many at the same time."""
        running: deque[subprocess.Popen[bytes]] = deque()
        for pod in self._cgroups:
            if len(running) == at_once:
                _await_kill(running.popleft())
            running.append(self.start(pod))
        for victim in running:
            _await_kill(victim)


def _await_kill(victim: subprocess.Popen[bytes]) -> None:
    if victim.wait(DEADLINE_SECONDS) == 0:
        raise BenchError("a victim was not killed")


@contextmanager
def pod_victims(program: Path, pods: Sequence[KnownPod]) -> Iterator[PodVictims]:
    """Cgroups for the pods, removed afterwards; those above them, too, unless they were there before."""
    with ExitStack() as stack:
        top = stack.enter_context(_directory(facts.memory_cgroup_mount()[0] / "kubepods"))
        qos = stack.enter_context(_directory(top / "burstable"))
        cgroups = {}
        for pod in pods:
            parent = stack.enter_context(_directory(qos / f"pod{pod.uid}"))
            cgroups[pod] = stack.enter_context(_directory(parent / pod.container_id))
            limit(cgroups[pod], LIMIT_BYTES)
        yield PodVictims(program, cgroups)


@contextmanager
def _directory(path: Path) -> Iterator[Path]:
    if path.exists():
        yield path
        return
    control = path.parent / "cgroup.subtree_control"
    if control.exists() and "memory" not in control.read_text().split():
        control.write_text("+memory")
    path.mkdir()
    try:
        yield path
    finally:
        remove(path)

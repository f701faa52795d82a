"""The fake API server in a process of its own: its work is neither counted as the agent's nor done in our time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agent import DEADLINE_SECONDS, BenchError

if TYPE_CHECKING:
    from types import TracebackType

NODE = "node-a"
PROGRAM = Path(__file__).with_name("apiserver.py")
# Only the agent sees this /run, where kubelet's files are in a pod.
AS_IN_A_POD = """
mount -t tmpfs run /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$0" /run/secrets/kubernetes.io/serviceaccount
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class KnownPod:
    """A pod of the node, and what its cgroups are called."""

    name: str
    namespace: str
    uid: str
    container_id: str


class ApiProcess:
    """Serves while its context lasts. ``pods`` are those of the node, ``pod_bytes`` the smallest and the largest."""

    def __init__(self, folder: Path, *, here: int, elsewhere: int = 0) -> None:
        self._folder = folder
        self._fill = {"here": here, "elsewhere": elsewhere}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, self._folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._variables: dict[str, str] = self._answer()["variables"]
        made = self.ask("fill", **self._fill)
        self.pods = [KnownPod(**pod) for pod in made["pods"]]
        self.pod_bytes = (made["smallest_bytes"], made["largest_bytes"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=DEADLINE_SECONDS)  # the end of its input is its end
        finally:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, environment: dict[str, str]) -> dict[str, str]:
        """The agent's environment, as in a pod of this cluster."""
        kept = {name: value for name, value in environment.items() if name != "KUBECONFIG"}
        return kept | self._variables | {"HOME": "/nonexistent"}

    def around(self) -> list[str]:
        """What a command line begins with so that it finds a pod's service account."""
        return ["unshare", "--mount", "sh", "-ec", AS_IN_A_POD, str(self._folder)]

    def ask(self, command: str, **arguments: object) -> Any:
        """Let it do something, and wait for the answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": command} | arguments).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def patches(self, count: int) -> dict[str, int]:
        """Wait for so many patches of pods since the last call; when each came (boot clock, ns), by the pod's name."""
        patches: dict[str, int] = self.ask("patches", count=count)["patches"]
        return patches

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the fake API server ended with {self._process.wait(DEADLINE_SECONDS)}")
        return json.loads(line)

"""What tests of pins share: a bpffs of their own, processes that trace with pins, a second build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import oomtracer
from oomtracer.tracer.loading import object_path

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = Path(__file__).with_name("pin_loader.py")
RING_BYTES = 1 << 20

Answer = dict[str, Any]


class Read(NamedTuple):
    """A batch: the ring's name, and (pid, start time) of each victim."""

    ring: str
    kills: list[tuple[int, int]]

    @property
    def pids(self) -> list[int]:
        """Of the victims."""
        return [pid for pid, _ in self.kills]


class Loader:
    """The process of pin_loader.py; ``package`` is the directory that holds another build's package."""

    def __init__(
        self,
        pin_path: Path,
        *,
        ring_size_bytes: int = RING_BYTES,
        disabled_hooks: Sequence[str] = (),
        package: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        settings = {
            "pin_path": str(pin_path),
            "ring_size_bytes": ring_size_bytes,
            "disabled_hooks": list(disabled_hooks),
        }
        self._command = [*prefix, sys.executable, str(SCRIPT), json.dumps(settings)]
        self._environment = {**os.environ, **({"PYTHONPATH": str(package)} if package else {})}

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        """End it as a stop does; the tracer's context is left."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def kill(self) -> None:
        """Let it not end in any way of its own."""
        self.process.kill()
        self.process.wait()

    @property
    def instance(self) -> str:
        """The name of its ring."""
        return str(self.started["instance"])

    def read(self) -> Read:
        """One batch."""
        answer = self._ask("read")
        return Read(answer["ring"], [(pid, start) for pid, start in answer["kills"]])

    def read_all(self, *, release: bool = True) -> list[Read]:
        """All batches until there is none."""
        batches = []
        while (batch := self.read()).kills:
            batches.append(batch)
            if release:
                self.release()
        if release:
            self.release()
        return batches

    def release(self) -> None:
        """Give up what was read."""
        self._ask("release")

    def count(self, name: str) -> int:
        """How many were lost, unread, or before the start."""
        return int(self._ask("count")[name])

    def _ask(self, command: str) -> Answer:
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Answer:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "it ended without an answer"
        answer: Answer = json.loads(line)
        return answer


def instances(pin_path: Path) -> set[str]:
    """What is pinned there."""
    return {each.name for each in pin_path.iterdir()}


def pids(batches: list[Read]) -> list[int]:
    """The victims of several batches."""
    return [pid for batch in batches for pid in batch.pids]


def copy_as_another_build(target: Path) -> Path:
    """Make a package whose object has other bytes and means the same; what to find it by."""
    package = Path(oomtracer.__file__).parent
    shutil.copytree(package, target / "oomtracer", ignore=shutil.ignore_patterns("__pycache__"))
    libraries = package.with_name("oomtracer.libs")  # of a wheel: found beside the package
    if libraries.exists():
        (target / libraries.name).symlink_to(libraries)
    with (target / "oomtracer" / "bpf" / object_path().name).open("ab") as changed:
        changed.write(b"another build")  # behind all that the ELF headers speak of
    return target

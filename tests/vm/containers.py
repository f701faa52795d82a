"""The files of a container, made here, and the bundle that a runtime takes."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from tests.kernel.conftest import MIB

if TYPE_CHECKING:
    from pathlib import Path

VICTIM_INSIDE = "/bin/victim"
LIMIT_BYTES = 16 * MIB
# Reads and writes nothing of its cgroup: it stays where the runtime has put it.
GROW = (VICTIM_INSIDE, "/dev/null", "grow", str(64 * MIB))


def run(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def make_root(root: Path, victim: str) -> Path:
    """A shell and the victim, both static."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    shutil.copy(victim, root / VICTIM_INSIDE.lstrip("/"))
    (root / VICTIM_INSIDE.lstrip("/")).chmod(0o755)
    return root


def make_bundle(directory: Path, root: Path, cgroup: str) -> Path:
    """A bundle of a container that grows beyond its limit, in the cgroup that an engine would ask for."""
    run("crun", "spec", f"--bundle={directory}")
    file = directory / "config.json"
    config: dict[str, Any] = json.loads(file.read_text())
    config["root"] = {"path": str(root), "readonly": False}
    config["process"] |= {"terminal": False, "args": list(GROW)}
    config["linux"]["cgroupsPath"] = cgroup
    config["linux"]["resources"] = {"memory": {"limit": LIMIT_BYTES, "swap": LIMIT_BYTES}}
    file.write_text(json.dumps(config))
    return directory


def run_until_killed(*command: str) -> None:
    """Run a runtime, which ends as its container did."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 128 + 9, done.stderr

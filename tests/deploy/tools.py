"""The real tools that these tests call, unpacked from Debian's packages without installing them.

The suite is fixed, whatever this machine runs: the kubectl of Debian 12 is too old for kustomize's components. The
programs are linked against glibc 2.34 and run on Debian 12 too. Nothing is installed, so that no service starts.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CACHE = Path(__file__).parents[2] / ".cache" / "tools" / SUITE
# Each is the name of the package and of the program in its /usr/bin.
PROGRAMS = ("kubectl", "promtool", "prometheus")


class ToolError(Exception):
    """A tool could not be had; the message says what to do."""


def kubectl() -> Path:
    """The path of kubectl, for ``kubectl kustomize``; no cluster is needed. Raises ToolError."""
    return _program("kubectl")


def promtool() -> Path:
    """The path of promtool. Raises ToolError."""
    return _program("promtool")


def prometheus() -> Path:
    """The path of the Prometheus server. Raises ToolError."""
    return _program("prometheus")


def _program(name: str) -> Path:
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _fetch(name)
    return path


def _fetch(name: str) -> None:
    mirror = _mirror()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".fetch-") as folder:
        work = Path(folder)
        environment = os.environ | {"APT_CONFIG": str(_apt_configuration(work, mirror))}
        _run(["apt-get", "update", "-qq"], work, environment)
        missing = [each for each in PROGRAMS if each == name or not (CACHE / each).exists()]
        _run(["apt-get", "download", "-qq", *missing], work, environment)
        for each in missing:
            [package] = work.glob(f"{each}_*.deb")
            _run(["dpkg-deb", "--extract", package.name, each], work, environment)
            # Last and in one step: another process finds the whole program or none.
            (work / each / "usr/bin" / each).replace(CACHE / each)


def _mirror() -> str:
    """The address that this machine itself uses for Debian's archive."""
    command = [
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Identifier: Packages",
    ]
    known = ""
    with suppress(OSError):
        known = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    mirrors = [line.split("|")[2] for line in known.splitlines() if line.startswith("Debian|Debian|")]
    if not mirrors or not KEYRING.exists():
        raise ToolError(
            "kubectl and promtool come from Debian's archive, and this machine's apt knows no mirror of it: "
            f"run the tests on Debian after apt-get update, or put {', '.join(PROGRAMS)} into {CACHE}"
        )
    return mirrors[0]


def _apt_configuration(work: Path, mirror: str) -> Path:
    """A configuration of apt that leaves the machine's own lists and packages alone."""
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    configuration = work / "apt.conf"
    configuration.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return configuration


def _run(command: list[str], work: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")

"""Debian's archive as a source of kernels and userlands, through an apt configuration of its own.

The machine's own sources, lists and packages stay untouched (``release/private-apt``).
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PRIVATE_APT = Path(__file__).parents[2] / "release/private-apt"
# Debian's names of the architectures.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEEP_LISTS_SECONDS = 12 * 3600
_PACKAGE = re.compile(r"^(\S+?)(?::\w+)?:\n  Installed: .*\n  Candidate: ([^(\s]+)$", re.MULTILINE)


class ArchiveError(Exception):
    """The archive does not have what a guest needs, or cannot be asked."""


@dataclass(frozen=True)
class Package:
    """One package file: its name and version."""

    name: str
    version: str


class Archive:
    """The packages of some suites, for both architectures. ``update`` before the first question."""

    def __init__(self, directory: Path, suites: Iterable[str]) -> None:
        self._directory = directory.absolute()
        self._suites = tuple(suites)
        self._config = self._directory / "apt.conf"
        self._updated = (
            self._directory / "updated"
        )  # written last: nothing else tells that all lists are there

    def update(self) -> None:
        """Fetch the lists of the suites anew. Raises ArchiveError."""
        self._updated.unlink(missing_ok=True)
        _run([PRIVATE_APT, self._directory, *self._suites])
        self._updated.write_text(str(self._directory))

    @property
    def is_current(self) -> bool:
        """Whether the lists were fetched lately, for this very directory: versions leave the archive."""
        if not self._updated.exists() or self._updated.read_text() != str(self._directory):
            return False
        return time.time() - self._updated.stat().st_mtime < _KEEP_LISTS_SECONDS

    def newest(self, pattern: str, arch: str) -> Package:
        """The newest package whose whole name fits a regular expression. Raises ArchiveError."""
        known = self._apt("apt-cache", "pkgnames", "linux-").split()
        names = [f"{name}:{ARCHITECTURES[arch]}" for name in known if re.fullmatch(pattern, name)]
        shown = self._apt("apt-cache", "policy", *names) if names else ""
        packages = [Package(*found) for found in _PACKAGE.findall(shown)]
        if not packages:
            raise ArchiveError(f"Debian has no package {pattern} for {arch}: look at tests/vm/guests.toml")
        return functools.reduce(lambda one, other: other if _is_newer(other, one) else one, packages)

    def fetch(self, package: Package, arch: str) -> Path:
        """Download one package; the path of its file."""
        target = self._directory / "packages"
        target.mkdir(exist_ok=True)
        version = package.version.replace(":", "%3a")
        path = target / f"{package.name}_{version}_{ARCHITECTURES[arch]}.deb"
        if not path.exists():
            what = f"{package.name}:{ARCHITECTURES[arch]}={package.version}"
            self._apt("apt-get", "download", "-qq", what, cwd=target)
        return path

    def fetch_with_dependencies(self, names: Iterable[str], arch: str) -> list[Path]:
        """Download packages and all that they depend on, as if for an empty system; the paths in a fixed order."""
        options = ["-o", f"APT::Architecture={ARCHITECTURES[arch]}", "--no-install-recommends", "-qq"]
        # Of files that are there already it tells no address: look for them where there are none.
        nowhere = f"Dir::Cache::Archives={self._directory}/empty"
        (self._directory / "empty/partial").mkdir(parents=True, exist_ok=True)
        listed = self._apt("apt-get", "install", *options, "-o", nowhere, "--print-uris", *names)
        files = [line.split()[1] for line in listed.splitlines() if line.startswith("'")]
        self._apt("apt-get", "install", *options, "--download-only", *names)
        return sorted(self._directory / "cache/archives" / name for name in files)

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        # Where the machine keeps no cache of its lists (as in a container image), each question takes seconds.
        options = [
            f"-oDir::Cache::{name}={self._directory}/{name}.bin" for name in ("pkgcache", "srcpkgcache")
        ]
        tool, *arguments = command
        return _run([tool, *options, *arguments], cwd=cwd, APT_CONFIG=str(self._config))


def _run(command: Sequence[str | Path], cwd: Path | None = None, **variables: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
    if done.returncode:
        what = " ".join(map(str, command))
        raise ArchiveError(f"{what} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def unpack(package: Path, directory: Path, *members: str) -> None:
    """Lay out the files of a package below a directory: all, or those that fit shell patterns."""
    with tempfile.TemporaryFile() as tar:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=tar, check=True)
        tar.seek(0)
        command = ["tar", "--extract", "--keep-directory-symlink", "--directory", directory]
        subprocess.run([*command, *(["--wildcards", *members] if members else [])], stdin=tar, check=True)


def _is_newer(one: Package, other: Package) -> bool:
    command = ["dpkg", "--compare-versions", one.version, "gt", other.version]
    return subprocess.run(command, check=False).returncode == 0

"""A Debian kernel, unpacked: its image, and the few modules that tests load."""

from __future__ import annotations

import lzma
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.vm.archive import Archive, Package, unpack

# Suites that hold a kernel of the table, besides those of their security updates.
SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports", "sid")
# Swap needs a block device, containers an overlay: all else is built in, or not needed. None needs another one.
MODULES = ("loop", "overlay")


@dataclass(frozen=True)
class Kernel:
    """A kernel as QEMU takes it, and a folder with a few of its modules, unpacked."""

    package: Package
    release: str
    image: Path
    modules: Path


def fetch_kernel(pattern: str, arch: str, cache: Path, archive: Archive) -> Kernel:
    """The newest kernel whose package fits a pattern; downloaded and unpacked once."""
    package = archive.newest(pattern, arch)
    directory = cache / f"{package.name}_{package.version}_{arch}".replace(":", "%3a")
    if not directory.exists():
        with tempfile.TemporaryDirectory(dir=cache) as name:
            made = Path(name, "kernel")
            _unpack(package, arch, made, archive)
            made.rename(directory)
    return Kernel(package, (directory / "release").read_text(), directory / "vmlinuz", directory / "modules")


def _unpack(package: Package, arch: str, target: Path, archive: Archive) -> None:
    (target / "modules").mkdir(parents=True)
    whole = target.parent / "whole"
    whole.mkdir()
    unpack(archive.fetch(package, arch), whole)
    if "-binary-" in package.name:  # of a newer kernel, which holds the image alone
        modules = Package(package.name.replace("-binary-", "-modules-"), package.version)
        unpack(archive.fetch(modules, arch), whole)
    [directory] = [*whole.glob("lib/modules/*"), *whole.glob("usr/lib/modules/*")]
    [image] = [*whole.glob("boot/vmlinuz-*"), *directory.glob("vmlinuz")]
    shutil.copy(image, target / "vmlinuz")
    (target / "release").write_text(directory.name)
    for path in sorted(directory.rglob("*.ko*")):
        name = path.name.partition(".")[0]
        if name in MODULES:
            data = path.read_bytes()
            data = lzma.decompress(data) if path.suffix == ".xz" else data
            (target / "modules" / f"{name}.ko").write_bytes(data)

"""A guest's root on a disk, for one that has less memory than its files take."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

# What a guest may write to it, besides what is there.
ROOM_BYTES = 256 << 20
# Where a user who is not root does not look for it.
MKE2FS = "/usr/sbin/mke2fs"


def make_disk(path: Path, archives: Iterable[Path]) -> None:
    """Make an image with an ext4 that holds the files of these archives, each over the one before."""
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        for archive in archives:
            with archive.open("rb") as packed:
                command = ["cpio", "--extract", "--make-directories", "--unconditional", "--quiet"]
                subprocess.run(command, cwd=name, stdin=packed, check=True)
        Path(name).chmod(0o755)
        path.unlink(missing_ok=True)
        with path.open("wb") as image:
            os.truncate(image.fileno(), _used_bytes(Path(name)) + ROOM_BYTES)
        subprocess.run(
            [MKE2FS, "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", name, path], check=True
        )


def _used_bytes(directory: Path) -> int:
    done = subprocess.run(
        ["du", "-s", "--block-size=1", directory], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0])

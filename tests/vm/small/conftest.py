"""A machine whose memory is soon gone: its files are on a disk, and its tests are not in the OOM killer's way."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import grow, kernel_log, make_cgroup, victim

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["grow", "kernel_log", "make_cgroup", "victim"]
BPFFS = Path("/sys/fs/bpf")


@pytest.fixture
def directory() -> Iterator[Path]:
    """One on the disk."""
    path = Path("/var/lib/oomtracer-test")
    path.mkdir(parents=True)
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout
    assert kind.strip() == "ext2/ext3"
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pin_path() -> Iterator[Path]:
    """Where to pin, on the guest's own bpffs."""
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=0700", "bpf", BPFFS], check=True)
    yield BPFFS / "oomtracer"
    subprocess.run(["umount", BPFFS], check=True)


@pytest.fixture(autouse=True)
def _spared() -> Iterator[None]:
    """These tests themselves are killed by nobody; what they start is told to be an ordinary process again."""
    score = Path("/proc/self/oom_score_adj")
    before = score.read_text()
    score.write_text("-1000")
    yield
    score.write_text(before)

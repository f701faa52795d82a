"""On a host without a bpffs, as an administrator: it is mounted, and pins are made there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from oomtracer.libbpf import is_bpffs
from tests.kernel.agent import run_oomtracer
from tests.kernel.conftest import MIB
from tests.kernel.pinned import Loader, pids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import CgroupMaker, Grow

BPFFS = Path("/sys/fs/bpf")
PIN_PATH = BPFFS / "oomtracer"


@pytest.fixture
def _no_bpffs() -> Iterator[None]:
    """None before, none afterwards."""
    while is_bpffs(BPFFS):
        subprocess.run(["umount", BPFFS], check=True)
    yield
    if is_bpffs(BPFFS):
        subprocess.run(["umount", BPFFS], check=True)


@pytest.mark.usefixtures("_no_bpffs")
def test_a_missing_bpffs_is_mounted(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """Check says that it would work and mounts nothing; the tracer mounts one, and the next one finds its kills."""
    cgroup = make_cgroup("/oomtracer-test").limit(2 * MIB)
    done = run_oomtracer("check", "--pin-path", str(PIN_PATH))
    assert f"{PIN_PATH} can be used; `run` makes {PIN_PATH}" in done.stdout
    assert not is_bpffs(BPFFS)
    with Loader(PIN_PATH) as first:
        assert first.started["fault"] == ""
        assert is_bpffs(BPFFS)
        assert BPFFS.stat().st_mode & 0o777 == 0o700
    missed = grow(cgroup)
    with Loader(PIN_PATH) as second:
        blind = any("mark_victim" in hook for hook in first.started["unpinned"])
        assert pids(second.read_all()) == ([] if blind else [missed])
    assert run_oomtracer("unpin").returncode == 0
    assert not PIN_PATH.exists()

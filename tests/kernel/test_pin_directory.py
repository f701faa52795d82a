"""Where pins may be: on a bpffs, in a directory of our own that nobody else can change."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import with_mounts
from tests.kernel.pinned import Loader, pids
from tests.kernel.test_privileges import LOADING, SYSLOG, loaded, wait_for_none_but, with_only

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow


def test_pins_are_for_their_owner_alone(pin_path: Path) -> None:
    """Directories 0700, pins 0600."""
    with Loader(pin_path) as loader:
        directory = pin_path / loader.instance
        assert {path.stat().st_mode & 0o777 for path in (pin_path, directory)} == {0o700}
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_three_capabilities_are_enough(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Pinning, adopting and replacing need no more than tracing does, where the directory is one's own."""
    allowed = with_only(*LOADING, SYSLOG)
    with Loader(pin_path, prefix=allowed) as first:
        assert first.started["fault"] == ""
    missed = grow(cgroup)
    with Loader(pin_path, prefix=allowed) as second:
        assert second.instance == first.instance
        assert second.read().pids == [missed]
    with Loader(pin_path, prefix=allowed, ring_size_bytes=1 << 19) as third:
        assert third.instance != first.instance
        assert pids(third.read_all()) == [missed]
        assert [path.name for path in pin_path.iterdir()] == [third.instance]


def test_without_a_bpffs_it_goes_on_unpinned(tmp_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Kills are told all the same; nothing is made, and the reason is told."""
    before = loaded()
    with Loader(tmp_path / "pins") as loader:
        assert loader.started["fault"] == f"cannot pin in {tmp_path / 'pins'}: {tmp_path} is on no bpffs"
        seen = grow(cgroup)
        assert pids(loader.read_all()) == [seen]
    assert list(tmp_path.iterdir()) == []
    wait_for_none_but(before)


@pytest.mark.parametrize("what", ["foreign name", "foreign pin", "open to others", "another user's", "link"])
def test_a_directory_that_is_not_ours_is_left_alone(pin_path: Path, what: str) -> None:
    """What others could change, or made, is not used: it goes on unpinned, and changes nothing there."""
    pin_path.mkdir(mode=0o700)
    if what == "foreign name":
        (pin_path / "cilium").mkdir()
    elif what == "foreign pin":
        (pin_path / "0123456789abcdef" / "other").mkdir(parents=True)
    elif what == "open to others":
        pin_path.chmod(0o770)
    elif what == "another user's":
        os.chown(pin_path, 65534, 65534)
    else:
        pin_path.rename(pin_path.with_name("elsewhere"))
        pin_path.symlink_to("elsewhere")
    before = [(path, path.lstat().st_mode) for path in sorted(pin_path.parent.rglob("*"))]
    with Loader(pin_path) as loader:
        assert str(pin_path) in loader.started["fault"]
        assert loader.started["attached"]
    assert [(path, path.lstat().st_mode) for path in sorted(pin_path.parent.rglob("*"))] == before


def test_a_bpffs_that_may_not_be_written_is_told(bpffs: Path, pin_path: Path) -> None:
    """Read-only: unpinned, with the errno."""
    subprocess.run(["mount", "-o", "remount,ro", bpffs], check=True)
    with Loader(pin_path) as loader:
        assert "EROFS" in loader.started["fault"]
        assert loader.started["attached"]


def test_a_directory_made_to_be_mounted_becomes_ours(pin_path: Path) -> None:
    """A kubelet makes a missing host directory with mode 0755; nobody else may look in once it is used."""
    pin_path.mkdir(mode=0o755)
    with Loader(pin_path) as loader:
        assert loader.started["fault"] == ""
        assert pin_path.stat().st_mode & 0o777 == 0o700


def test_a_bpffs_is_mounted_for_its_owner_alone() -> None:
    """Mounted in a namespace of the test's own: by its magic number it is one, and its mode is 0700."""
    script = (
        "from pathlib import Path; from oomtracer.libbpf import is_bpffs, mount_bpffs; p = Path('/sys/fs/bpf');"
        "mount_bpffs(p); print(is_bpffs(p), oct(p.stat().st_mode & 0o777))"
    )
    command = [
        *with_mounts("{ ! mountpoint -q /sys/fs/bpf || umount /sys/fs/bpf; }"),
        sys.executable,
        "-c",
        script,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0o700"]

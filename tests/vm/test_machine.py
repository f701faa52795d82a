"""A guest that hangs or crashes is told as such, with what it said last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm.guests import all_guests
from tests.vm.machine import GuestError, Machine, boot
from tests.vm.userland import pack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.run import Lab

GUEST = next(guest for guest in all_guests() if guest.ci and guest.arch == "x86_64")
# The first test waits for wheels and kernel, too.
pytestmark = pytest.mark.timeout(2400)


def machine_that(says: str, lab: Lab, directory: Path) -> Machine:
    """A guest whose process 1 is a few lines of shell."""
    tree = directory / "tree"
    (tree / "dev").mkdir(parents=True)
    lab.busybox(GUEST.arch, tree / "busybox")
    init = tree / "init"
    init.write_text(f"#!/busybox sh\n/busybox mount -t devtmpfs devtmpfs /dev\n{says}\n")
    init.chmod(0o755)
    initramfs = directory / "initramfs.cpio"
    pack(tree, initramfs)
    return Machine(arch=GUEST.arch, image=lab.kernel(GUEST).image, initramfs=initramfs, memory_mib=512)


def test_a_hang_is_told(lab: Lab, tmp_path: Path) -> None:
    """No end before the deadline: the last words of the console, and no process left."""
    machine = machine_that("echo last words >/dev/console; /busybox sleep 1000", lab, tmp_path)
    with pytest.raises(GuestError, match=r"(?s)no end within 20 s.*last words"):
        boot(machine, tmp_path, deadline_seconds=20)


def test_a_crash_is_told(lab: Lab, tmp_path: Path) -> None:
    """A kernel that panics ends the machine; what it said is in the error."""
    machine = machine_that("exit 1", lab, tmp_path)
    with pytest.raises(GuestError, match=r"(?s)without results.*Attempted to kill init"):
        boot(machine, tmp_path, deadline_seconds=60)


def test_a_machine_that_cannot_start_is_told(lab: Lab, tmp_path: Path) -> None:
    """QEMU's own words, where it does not even start."""
    machine = machine_that("", lab, tmp_path)
    broken = Machine(
        arch=machine.arch, image=tmp_path / "none", initramfs=machine.initramfs, memory_mib=machine.memory_mib
    )
    with pytest.raises(GuestError, match=r"QEMU ended with 1: .*none"):
        boot(broken, tmp_path, deadline_seconds=20)

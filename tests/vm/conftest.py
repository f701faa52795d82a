"""What runs where: tests that end a machine's memory run inside a guest, those that boot guests outside of one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import REQUIRED
from tests.vm.run import Lab

IN_GUEST = os.environ.get("OOMTRACER_GUEST") == "1"
# Sent with the results.
SELECTED = Path("/results/selected")
_INSIDE = ["lockdown", "numa", "podman", "scenarios", "small", "systemd"]
_OUTSIDE = ["test_guests.py", "test_judge.py", "test_machine.py", "test_support.py"]

collect_ignore = _OUTSIDE if IN_GUEST else _INSIDE


@pytest.fixture(scope="session")
def lab(dist: Path) -> Lab:
    """What guests are made of, with the wheels of this tree."""
    missing = [
        f"qemu-system-{arch}" for arch in ("x86_64", "aarch64") if not shutil.which(f"qemu-system-{arch}")
    ]
    if missing:
        reason = f"no {' and '.join(missing)}: run `make test` as root, which installs them"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    ready = Lab(dist)
    ready.update()
    return ready


def pytest_collection_finish(session: pytest.Session) -> None:
    """In a guest: tell how many tests are to run, so that none can get lost."""
    if IN_GUEST and SELECTED.parent.exists():
        SELECTED.write_text(str(len(session.items)))

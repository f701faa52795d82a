"""What several folders of tests share: the gate before real OOM kills, the lock they hold, and the built release."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Required: such a test fails where it cannot run. Unset: it is skipped, and says what would run it.
REQUIRED = os.environ.get("OOMTRACER_KERNEL_TESTS") == "1"
LOCK = Path("/run/oomtracer-tests.lock")
ROOT = Path(__file__).parents[1]
HERE = platform.machine()
ARCHITECTURES = ("x86_64", "aarch64")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Guests and images are started first and judged last: that is most of the time they take."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.name == "test_they_are_started":
        return 0
    fixtures: Sequence[str] = getattr(item, "fixturenames", ())
    return 2 if {"booted", "images"}.intersection(fixtures) else 1


@pytest.fixture(scope="session")
def machine() -> Iterator[None]:
    """The machine for one test run at a time: the counters compared with are machine-wide."""
    if os.geteuid() != 0:
        reason = "real OOM kills need root: run `sudo make test`"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    with one_at_a_time():
        yield


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until nobody else on this machine makes kills, and keep others from it."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def _kernel_gate(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("kernel"):
        request.getfixturevalue("machine")


def make(*arguments: str) -> None:
    """Run `make` as a person runs it, not as a part of the run that calls the tests."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    command = ["make", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `make bundle` for this machine's architecture and `make wheel` for the others."""
    target = tmp_path_factory.mktemp("dist")
    make("bundle", f"DIST={target}", f"ARCH={HERE}")
    for arch in ARCHITECTURES:
        if arch != HERE:
            make("wheel", f"DIST={target}", f"ARCH={arch}")
    return target

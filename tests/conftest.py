"""The gate before tests that make real OOM kills, and the lock that they hold."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Required: such a test fails where it cannot run. Unset: it is skipped, and says what would run it.
REQUIRED = os.environ.get("OOMTRACER_KERNEL_TESTS") == "1"
LOCK = Path("/run/oomtracer-tests.lock")


@pytest.fixture(scope="session")
def machine() -> Iterator[None]:
    """The machine for one test run at a time: the counters compared with are machine-wide."""
    if os.geteuid() != 0:
        reason = "real OOM kills need root: run `sudo make test`"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def _kernel_gate(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("kernel"):
        request.getfixturevalue("machine")

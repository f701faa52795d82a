"""Units of a real systemd, and what it says of them; with the fixtures of tests/kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import kernel_log, victim
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kernel_log", "victim"]

UNITS = Path("/run/systemd/system")


def systemctl(*arguments: str, check: bool = True) -> str:
    """What systemctl prints."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.strip()


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemctl("show", "--value", f"--property={name}", unit)


class Units:
    """Writes unit files; they are gone after the test."""

    def __init__(self) -> None:
        self._written: list[str] = []

    def write(self, name: str, *lines: str) -> None:
        """A unit file, known to systemd."""
        (UNITS / name).parent.mkdir(parents=True, exist_ok=True)
        (UNITS / name).write_text("\n".join([*lines, ""]))
        self._written.append(name)
        systemctl("daemon-reload")

    def remove(self) -> None:
        """Forget all that were written."""
        for name in self._written:
            systemctl("stop", name.partition("/")[0].removesuffix(".d").replace("@.", "@*."), check=False)
            (UNITS / name).unlink()
        systemctl("daemon-reload")
        systemctl("reset-failed", check=False)


@pytest.fixture
def units() -> Iterator[Units]:
    """Unit files for one test."""
    made = Units()
    yield made
    made.remove()


def start_until_killed(unit: str) -> int:
    """Start a service; the process id that its main process had when the kernel killed it."""
    systemctl("start", unit, check=False)
    return wait_until_killed(unit)


def wait_until_killed(unit: str) -> int:
    """Wait for the end of a service that was started; the process id of its main process."""
    wait_until(lambda: show(unit, "ActiveState") == "failed", f"{unit} has ended")
    # "signal" where systemd hears of the end before it hears of the kernel's count.
    assert show(unit, "Result") in {"oom-kill", "signal"}
    assert show(unit, "ExecMainStatus") == "9"
    return int(show(unit, "ExecMainPID"))

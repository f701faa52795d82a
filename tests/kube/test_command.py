from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from oomtracer.kube.command import run_command

DEADLINE_S = 10.0
# Leaves a child in a session of its own, which keeps the pipes.
_LEAVES_ONE = "setsid sleep 60 & echo $! >{path}; wait"


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def settled(condition) -> None:
    """Wait for what the loop does a little later."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_command_that_is_given_up_leaves_no_descriptor(tmp_path: Path) -> None:
    """Whatever it started elsewhere may keep its ends of the pipes; ours are closed."""
    left = tmp_path / "pid"

    async def give_up() -> None:
        before = descriptors()
        with pytest.raises(TimeoutError):
            await run_command(["sh", "-c", _LEAVES_ONE.format(path=left)], environment={}, timeout_s=0.5)
        await settled(lambda: descriptors() <= before)

    try:
        asyncio.run(give_up())
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)

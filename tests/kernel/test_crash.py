"""The agent itself is killed, again and again, while the kernel kills others: nothing is lost, nothing kept twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.crashes import CrashingAgent, crash

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import CgroupMaker

# On an emulated processor an agent dies long before it is up; guests have tests/vm/small.
pytestmark = pytest.mark.any_kernel

CYCLES, SEED = 60, 20261128


def test_sixty_sudden_deaths(tmp_path: Path, pin_path: Path, make_cgroup: CgroupMaker, victim: str) -> None:
    """Each kill of sixty storms is in the journal once and was told, wherever the agent was when it died."""
    agent = CrashingAgent(tmp_path, pin_path)
    result = crash(agent, victim, make_cgroup("/oomtracer-test"), cycles=CYCLES, seed=SEED)
    print(result)
    assert result.faults() == []
    assert "set aside" not in agent.log.read_text()

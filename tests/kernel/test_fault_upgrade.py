"""From one build of the whole agent to the next and back, stopped or killed, while the kernel kills."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent
from tests.kernel.kept import history, ids, kept_in, pids, pinned_in
from tests.kernel.pinned import copy_as_another_build, instances
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES, kernel_kills
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow

RESTARTS, SEED, EACH = 8, 20261128, 60


@pytest.fixture(scope="module")
def another_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with an object of another build."""
    return copy_as_another_build(tmp_path_factory.mktemp("another"))


def test_builds_take_turns_during_a_storm(
    tmp_path: Path, pin_path: Path, cgroup: Cgroup, grow: Grow, another_build: Path
) -> None:
    """Every kill of the storm is in the journal once, as many as the kernel counts, and each was told."""
    dice, told = random.Random(SEED), []
    flags = (*kept_in(tmp_path / "state"), *pinned_in(pin_path), "--ring-size", "4MiB")
    cgroup.limit(STORM_LIMIT_BYTES)
    with Agent(*flags) as first:
        assert first.stop() == (0, [])
    before, kills = kernel_kills(), 0
    for turn in range(RESTARTS):
        other = ["env", "-C", str(tmp_path), f"PYTHONPATH={another_build}"] if turn % 2 == 0 else []
        with ExitStack() as stack:
            storm = stack.enter_context(grow.start(cgroup, "storm", STORM_BYTES, str(EACH)))
            agent = stack.enter_context(Agent(*flags, prefix=other))
            told += [agent.report() for _ in range(dice.randint(1, EACH // 2))]
            if dice.random() < 0.5:
                code, rest = agent.stop()
                assert code == 0
                told += rest
            else:
                agent.process.kill()
                told += map(json.loads, agent.reports.rest())
            assert storm.wait(60) == 0
        kills += EACH
    with Agent(*flags) as last:
        wait_until(lambda: len(history(tmp_path / "state")) >= kills, "all are kept")
        code, rest = last.stop()
        assert code == 0
    kept = history(tmp_path / "state")
    assert kernel_kills() - before == kills == len(kept)
    assert set(ids(kept).values()) == {1}
    assert len(set(pids(kept))) == kills
    assert set(ids([*told, *rest])) == set(ids(kept))
    assert len(instances(pin_path)) == 1

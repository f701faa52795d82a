"""The fake API server answers as a real one did: every recorded request is sent to it again."""

from __future__ import annotations

import asyncio

import pytest

from tests.kube.recordings import names, scenes_faults, scenes_read, scenes_write, steps
from tests.kube.recordings.not_compared import NOT_COMPARED
from tests.kube.recordings.play import Play, stage

SCENES = {**scenes_read.SCENES, **scenes_write.SCENES, **scenes_faults.SCENES}


@pytest.mark.parametrize("name", sorted(SCENES))
def test_the_fake_answers_as_the_real_server_did(name: str) -> None:
    """Status, headers, body and stream are the recorded ones, step by step, and no step is left out."""

    async def run() -> Play:
        async with stage(name) as play:
            await SCENES[name](play)
            return play

    play = asyncio.run(run())
    skipped = tuple(NOT_COMPARED.get(name, ["(nothing)"]))
    labels = [step.label for step in steps(name) if not step.label.startswith(skipped)]
    assert play.done
    assert [label for label in labels if label not in play.done] == []


def test_every_recording_is_compared_or_has_a_reason() -> None:
    """A recording that nobody replays says why, and no reason is left over."""
    whole = {name for name, reasons in NOT_COMPARED.items() if "" in reasons}
    assert sorted(whole | set(SCENES)) == names()
    for name, reasons in NOT_COMPARED.items():
        labels = [step.label for step in steps(name)]
        assert name in whole or all(any(label.startswith(part) for label in labels) for part in reasons), name

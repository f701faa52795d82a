from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from oomtracer.journal import Delivery, records, reports
from tests.unit.pipes import run

from .scene import ids, journal, numbered, recent_ids

CYCLES = 20


def killed(directory: Path, first: int, draw: random.Random) -> list[list[str]]:
    """Let a process write, kill it after some lines, and tell all lines that it wrote."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.writing", str(directory), str(first)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(draw.randrange(1, 60))]
        writer.kill()
        lines += writer.stdout.readlines()
    assert all(line.endswith("\n") for line in lines)
    return [line.split() for line in lines]


def test_what_was_acknowledged_outlasts_kill_9(tmp_path):
    """Killed at any instant: all that was acknowledged is there, once, and the next process goes on from it."""
    draw = random.Random(9)
    directory = tmp_path / "state"
    stored, added, settled = -1, -1, set()
    for _ in range(CYCLES):
        for what, *numbers in killed(directory, added + 1, draw):
            last = int(numbers[-1])
            if what == "stored":
                stored = last
            elif what == "added":
                added = last
            else:
                settled |= set(range(int(numbers[0]), last + 1))
        added = _checked(directory, stored, added, settled)
    assert added > CYCLES
    assert settled


def _checked(directory: Path, stored: int, added: int, settled: set[int]) -> int:
    """Compare the journal with what was acknowledged; tell the last report in it."""
    found: list[int] = []

    async def scenario() -> None:
        async with journal(directory) as opened:
            there = await opened.submit(lambda each: recent_ids(each, 10**6))
            last = len(there) - 1
            # In order and without a gap: each id once, those of the last, unacknowledged call all or none.
            assert there == [numbered(number).id for number in range(last + 1)]
            assert last >= added
            undone = await opened.submit(records.unfinished)
            seqs = [each.position for each in undone]
            assert seqs == list(range(last + 1, last + 1 + len(seqs)))
            assert last + len(seqs) >= stored
            owed = set(ids(await opened.submit(lambda each: reports.owed(each, Delivery.STDOUT))))
            assert not owed & {numbered(number).id for number in settled}
            assert opened.set_aside == {}
            found.append(last)

    run(scenario())
    return found[0]

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.pipeline import Attributor, Pipeline

from . import records, stacks
from .builders import BOOT_ID, TIME, examples

SYMBOLS = stacks.Symbols()


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.reports = []

    def emit(self, report) -> None:
        """Keep one."""
        self.reports.append(report)


class Broken(Attributor):
    """Fails for one process, as a defect of ours would."""

    def report(self, kill):
        """Fail, or attribute."""
        if kill.victim.pid == 13:
            raise KeyError(kill.victim.comm)
        return super().report(kill)


def pipeline(*sinks) -> Pipeline:
    """Build one around the attributor that can fail."""
    mine = Broken(boot_id=BOOT_ID, node="n", symbols=SYMBOLS, memory_nodes=1, wall_clock=lambda _: TIME)
    return Pipeline(mine, sinks)


def handle(one: Pipeline, data: bytes) -> None:
    """Take one record of a ring through to the sinks."""
    report = one.attribute("ring", data)
    if report:
        one.tell(report)


def record(seq: int, pid: int = 0, **values) -> bytes:
    """Write a record whose victim is as new as its number."""
    return records.record(seq=seq, victim_tgid=pid or seq, **values)


def counts(one: Pipeline) -> dict[str, int]:
    """Tell the counters that are not zero."""
    names = ("observed", "undecodable", "unattributable", "missing", "repeated")
    return {name: getattr(one, name) for name in names if getattr(one, name)}


@pytest.mark.parametrize("missing", [None, b"garbage"])
def test_what_is_missing_ends_what_is_remembered(missing):
    """After a gap, or a record that was dropped, a further victim joins no run from before."""
    member = SYMBOLS.stack(stacks.MEMCG_MEMBER)
    kept = Kept()
    mine = pipeline(kept)
    handle(mine, record(1, stack=SYMBOLS.stack(stacks.MEMCG)))
    handle(mine, record(2, stack=member))
    if missing:
        handle(mine, missing)
    handle(mine, record(4, stack=member))
    first, joined, alone = kept.reports
    assert joined.incident == first.id
    assert alone.incident == alone.id


def test_every_report_reaches_every_sink_in_order():
    """One record, one report at each sink, in the kernel's order."""
    first, second = Kept(), Kept()
    mine = pipeline(first, second)
    for seq in range(1, 6):
        handle(mine, record(seq))
    assert [report.victim.pid for report in first.reports] == [1, 2, 3, 4, 5]
    assert first.reports == second.reports
    assert counts(mine) == {"observed": 5}


@given(st.lists(st.integers(1, 500), min_size=1, unique=True))
@examples(100)
def test_a_gap_in_the_sequence_is_counted_exactly(seqs):
    """What is missing is the numbers between, from the first one seen to the last."""
    mine = pipeline()
    seqs.sort()
    logging.disable(logging.ERROR)
    try:
        for seq in seqs:
            handle(mine, record(seq))
    finally:
        logging.disable(logging.NOTSET)
    assert mine.missing == seqs[-1] - seqs[0] + 1 - len(seqs)


def test_a_sequence_that_starts_again_is_no_gap():
    """A new ring counts from 1 again: nothing is missing."""
    mine = pipeline()
    for number, seq in enumerate((1, 2, 1, 2, 3)):
        handle(mine, record(seq, pid=100 + number))
    assert counts(mine) == {"observed": 5}


def test_an_undecodable_record_is_counted_once_and_logged(caplog):
    """It was not understood, but it did arrive: the number it took is not missing besides."""
    kept = Kept()
    mine = pipeline(kept)
    for data in (record(1), record(2, version=9), b"", record(4)):
        handle(mine, data)
    assert counts(mine) == {"observed": 2, "undecodable": 2}
    assert len(kept.reports) == 2
    assert [one.levelname for one in caplog.records] == ["ERROR", "ERROR"]


def test_a_defect_costs_one_report_and_not_those_behind_it(caplog):
    """An attribution that fails is counted and logged with its cause; the next report goes out."""
    kept = Kept()
    mine = pipeline(kept)
    for seq in (12, 13, 14):
        handle(mine, record(seq))
    assert counts(mine) == {"observed": 3, "unattributable": 1}
    assert [report.victim.pid for report in kept.reports] == [12, 14]
    assert any(one.exc_info for one in caplog.records)


def test_a_process_is_told_once():
    """A sharer of the memory that is a member of the group as well is one process, and one report."""
    kept = Kept()
    mine = pipeline(kept)
    handle(mine, record(1, pid=7, outcome=records.SHARED))
    handle(mine, record(2, pid=7))
    handle(mine, record(3, pid=7, victim_start_time_ns=5))
    assert counts(mine) == {"observed": 3, "repeated": 1}
    assert [report.shared_memory for report in kept.reports] == [True, False]


def test_a_further_mark_of_a_victim_is_no_further_kill():
    """Threads of a dying process are marked again; the kernel does not count these, nor do we."""
    kept = Kept()
    mine = pipeline(kept)
    handle(mine, record(1, pid=7))
    handle(mine, record(2, pid=7, outcome=records.MARKED))
    assert counts(mine) == {"observed": 2}
    assert len(kept.reports) == 1


def test_a_sink_that_fails_costs_only_its_own_report(caplog):
    """The other sinks and the next reports get theirs; the loss is counted and logged."""

    class Failing:
        def emit(self, report):
            raise OSError("no")

    kept = Kept()
    mine = pipeline(Failing(), kept)
    handle(mine, record(1))
    handle(mine, record(2))
    assert mine.untold == 2
    assert len(kept.reports) == 2
    assert any(one.exc_info for one in caplog.records)


def test_the_memory_of_told_processes_is_bounded():
    """The oldest ids are forgotten, so that a long life costs no more than a short one."""
    mine = pipeline()
    for seq in range(1, 4200):
        handle(mine, record(seq))
    assert len(mine._told) == 512
    handle(mine, record(4200, pid=4199))
    assert mine.repeated == 1


@pytest.mark.parametrize("size", [0, 1, 27, 28, 4000])
def test_garbage_never_raises(size):
    """Handling bytes of any length raises nothing."""
    mine = pipeline()
    handle(mine, b"\xff" * size)
    assert counts(mine) == {"undecodable": 1}

"""The audit in the cases that people meet, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oomtracer.audit import (
    NO_KERNEL_COUNT,
    NO_SIGNALS,
    PROGRAM_STAGES,
    UNSEEN,
    Audit,
    Baseline,
    Counters,
    Processed,
    Reading,
    sentence,
)
from tests.audit.kernels import SECOND, SEEN, Kernel

KILL, RING_FULL = SEEN[:2]
CALM = dict.fromkeys((UNSEEN, *PROGRAM_STAGES), 0)


def audited(kernel: Kernel, **options) -> Audit:
    """An audit that begins now."""
    return Audit(kernel.baseline(), **{"sees_signals": True, **options})


def test_kills_before_the_start_are_not_lost() -> None:
    """They are told apart, and everything since then adds up."""
    kernel = Kernel(vmstat=17)
    audit = audited(kernel)
    for seen in (KILL, SECOND, KILL):
        kernel.begin(seen)
    kernel.mark("marks")
    verdict = audit.observe(kernel.read(), Processed(reported=3))
    assert (verdict.before_start, verdict.kernel_kills, verdict.program_kills) == (17, 3, 3)
    assert (verdict.second_kills, verdict.lost, verdict.log) == (1, CALM, ())
    assert sentence(verdict, since="noon") == (
        "since noon: 3 kills counted by the kernel, 3 reported, 1 counted twice for one process, none lost"
    )


def test_a_kill_in_progress_is_not_lost() -> None:
    """The kernel counts it first; the audit asks for another reading, and then all is well."""
    kernel = Kernel()
    audit = audited(kernel)
    kernel.begin(KILL)
    verdict = audit.observe(kernel.read(), Processed())
    assert (verdict.lost, verdict.recheck) == (CALM, True)
    kernel.wait(1)
    verdict = audit.observe(kernel.read(), Processed())
    assert (verdict.lost, verdict.recheck, verdict.kernel_kills) == (CALM, False, 1)


def test_one_kill_after_the_other_in_progress_is_not_lost() -> None:
    """However long it goes on, if another kill is in progress each time that the audit looks."""
    kernel = Kernel()
    audit = audited(kernel)
    for _ in range(5):
        kernel.begin(KILL)
        verdict = audit.observe(kernel.read(), Processed())
        assert (verdict.lost, verdict.recheck) == (CALM, True)
        kernel.wait(2)


def test_a_kill_that_nobody_saw_is_told_once() -> None:
    """After a calm second, with what to do about it."""
    kernel = Kernel()
    audit = audited(kernel)
    kernel.begin(())
    assert audit.observe(kernel.read(), Processed()).log == ()
    kernel.wait(1)
    verdict = audit.observe(kernel.read(), Processed())
    [line] = verdict.log
    assert line.startswith("kills lost: 1 unseen (the kernel counted them and no program saw them: look with")
    assert verdict.lost == CALM | {UNSEEN: 1}
    kernel.wait(1)
    assert audit.observe(kernel.read(), Processed()).log == ()
    assert sentence(verdict, since="noon") == (
        "since noon: 1 kill counted by the kernel, 0 reported, 1 lost (unseen 1)"
    )


def test_a_storm_hides_no_more_than_one() -> None:
    """One of several missing kills may be in progress; the others are lost for sure, at once."""
    kernel = Kernel()
    audit = audited(kernel)
    for _ in range(5):
        kernel.begin(())
    verdict = audit.observe(kernel.read(), Processed())
    assert (verdict.lost[UNSEEN], verdict.recheck) == (4, True)


def test_a_reading_in_which_kills_happen_says_nothing() -> None:
    """Also if much seems to be missing in it."""
    kernel = Kernel()
    audit = audited(kernel)

    def kills() -> None:
        for _ in range(9):
            kernel.begin(KILL)

    verdict = audit.observe(kernel.read(lambda: None, kills), Processed())
    assert (verdict.lost, verdict.recheck, verdict.kernel_kills) == (CALM, False, 9)


def test_losses_of_all_stages_are_one_line() -> None:
    """Those that the program counted and those that the process counted, each with its advice."""
    kernel = Kernel()
    audit = audited(kernel)
    for _ in range(2):
        kernel.begin(RING_FULL)
    kernel.end()
    verdict = audit.observe(kernel.read(), Processed(lost={"decode": 1, "stdout": 3}))
    [line] = verdict.log
    assert line == (
        "kills lost: 2 ring_full (the ring was full: raise --ring-size); "
        "1 decode (their records were not understood: report the log line about each); 3 stdout"
    )
    assert sentence(verdict, since="noon").endswith("6 lost (ring_full 2, decode 1, stdout 3)")


def test_a_restart_does_not_tell_again() -> None:
    """With what a former process has told, the next one goes on."""
    kernel = Kernel()
    baseline = kernel.baseline()
    audit = Audit(baseline, sees_signals=True)
    for seen in (RING_FULL, (), ()):
        kernel.begin(seen)
    kernel.end()
    first = audit.observe(kernel.read(), Processed())
    assert first.lost == CALM | {UNSEEN: 1, "ring_full": 1}
    second = Audit(baseline, sees_signals=True, told=first.lost)
    kernel.wait(1)
    assert second.observe(kernel.read(), Processed()).log == ()
    kernel.wait(1)
    verdict = second.observe(kernel.read(), Processed())
    assert verdict.lost == CALM | {UNSEEN: 2, "ring_full": 1}
    assert verdict.log[0].startswith("kills lost: 1 unseen")


def test_without_signals_the_audit_cannot_tell() -> None:
    """The kernel's count and the program's own losses are known, the comparison is not."""
    kernel = Kernel(vmstat=4)
    audit = audited(kernel, sees_signals=False)
    kernel.begin(("ring_full",))
    kernel.end()
    verdict = audit.observe(kernel.read(), Processed())
    assert (verdict.reason, verdict.program_kills, verdict.kernel_kills) == (NO_SIGNALS, None, 1)
    assert UNSEEN not in verdict.lost
    assert verdict.lost["ring_full"] == 1
    assert not verdict.recheck
    assert sentence(verdict, since="noon").endswith(
        f"; whether the kernel counted more is unknown: {NO_SIGNALS}"
    )


def test_without_a_kernel_count_the_audit_cannot_tell() -> None:
    """Neither kills since the start nor before it."""
    reading = Reading(at_s=0, vmstat_before=None, counters=Counters(kills=3, attempted=3), vmstat_after=None)
    verdict = Audit(None, sees_signals=True).observe(reading, Processed(reported=3))
    assert verdict.reason == NO_KERNEL_COUNT
    assert (verdict.before_start, verdict.kernel_kills, verdict.program_kills) == (None, None, None)
    assert sentence(verdict, since="noon") == (
        f"since noon: 3 reported, none lost; whether the kernel counted more is unknown: {NO_KERNEL_COUNT}"
    )


@pytest.mark.parametrize(
    "back",
    [
        Reading(at_s=9, vmstat_before=0, counters=Counters(attempted=2, kills=2), vmstat_after=0),
        Reading(at_s=9, vmstat_before=9, counters=Counters(attempted=1, kills=1), vmstat_after=9),
    ],
    ids=["kernel", "program"],
)
def test_counts_that_go_back_begin_anew(back: Reading) -> None:
    """Another boot or another ring: an error is told, and nothing is taken for lost."""
    kernel = Kernel(vmstat=5)
    audit = audited(kernel)
    for _ in range(2):
        kernel.begin(KILL)
    kernel.end()
    audit.observe(kernel.read(), Processed())
    verdict = audit.observe(back, Processed())
    assert "begins anew" in verdict.log[0]
    assert verdict.lost == CALM
    later = replace(back, at_s=20, vmstat_before=10, vmstat_after=10)
    assert audit.observe(later, Processed()).recheck


def test_the_baseline_is_not_taken_in_the_middle_of_a_kill() -> None:
    """Of several readings the one that was made beside it; unstable ones say nothing."""
    kernel = Kernel(vmstat=3)
    kernel.begin(KILL)
    in_the_middle = kernel.read()
    unstable = kernel.read(lambda: kernel.begin(KILL))
    kernel.end()
    assert Baseline.of([in_the_middle, unstable, kernel.read()]) == Baseline(kernel_kills=5, program_kills=2)
    assert Baseline.of([unstable]) is None


def test_a_baseline_in_the_middle_of_a_kill_is_corrected() -> None:
    """Then the program has seen one kill too many, and a later loss must not hide behind it."""
    kernel = Kernel()
    kernel.begin(KILL)
    audit = Audit(Baseline.of([kernel.read()]), sees_signals=True)
    kernel.end()
    assert audit.observe(kernel.read(), Processed()).before_start == 0
    kernel.begin(())
    audit.observe(kernel.read(), Processed())
    kernel.wait(1)
    assert audit.observe(kernel.read(), Processed()).lost[UNSEEN] == 1


def test_without_a_baseline_the_first_stable_reading_is_one() -> None:
    """What came before it is before the start."""
    kernel = Kernel(vmstat=2)
    audit = Audit(None, sees_signals=True)
    verdict = audit.observe(kernel.read(lambda: kernel.begin(KILL)), Processed())
    assert (verdict.reason != "", verdict.kernel_kills) == (True, None)
    kernel.end()
    verdict = audit.observe(kernel.read(), Processed())
    assert (verdict.before_start, verdict.kernel_kills, verdict.reason) == (2, 1, "")


def test_a_count_that_cannot_be_read_for_a_moment_has_not_gone_back() -> None:
    """As without a free descriptor: what was lost stays told, and is not told again."""
    kernel = Kernel(vmstat=3)
    audit = audited(kernel)
    kernel.begin(RING_FULL)
    lost = audit.observe(kernel.read(), Processed()).lost
    blind = replace(kernel.read(), vmstat_before=None, vmstat_after=None)
    assert audit.observe(blind, Processed()).log == ()
    verdict = audit.observe(kernel.read(), Processed())
    assert (verdict.before_start, verdict.lost, verdict.log) == (3, lost, ())

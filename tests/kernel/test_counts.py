"""What the program counts, against the kernel's own count: equal, whatever became of the records."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from oomtracer.audit import UNSEEN, Audit, Baseline, Counters, Processed, Reading
from oomtracer.events import Outcome
from oomtracer.kernel import facts
from tests.kernel.conftest import MIB
from tests.kernel.ring import KIB, unread_ring
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES, kernel_kills
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from oomtracer.events import OomKill
    from tests.kernel.conftest import CgroupMaker, Grow

STORMS, KILLS_EACH, SHARED = 3, 15, 2
KILLED = 1 + STORMS * KILLS_EACH + SHARED


def mixed_kills(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """One mark without a kill, one kill, two with a sharer each, and storms side by side."""
    with grow.start(make_cgroup("/oomtracer-test/dying").limit(16 * MIB), "dying", 10 * MIB) as parent:
        assert parent.wait(30) == 0
    grow(make_cgroup("/oomtracer-test/single").limit(16 * MIB))
    for _ in range(SHARED):
        grow(make_cgroup("/oomtracer-test/shared").limit(16 * MIB), "share")
    with ExitStack() as stack:
        cgroups = [make_cgroup(f"/oomtracer-test/storm{i}").limit(STORM_LIMIT_BYTES) for i in range(STORMS)]
        storms = [
            stack.enter_context(grow.start(each, "storm", STORM_BYTES, str(KILLS_EACH))) for each in cgroups
        ]
        assert [storm.wait(60) for storm in storms] == [0] * STORMS


def assert_every_record_is_accounted_for(counted: Counters, kills: list[OomKill]) -> None:
    """Each number was given to a record, or to a loss with its reason."""
    assert counted.attempted == len(kills) + counted.ring_full + counted.over_share + counted.not_found
    assert len({kill.seq for kill in kills}) == len(kills)


@pytest.mark.parametrize("size", [8 * KIB, 32 * KIB, 1024 * KIB])
def test_the_program_counts_what_the_kernel_counts(make_cgroup: CgroupMaker, grow: Grow, size: int) -> None:
    """Kills are those of /proc/vmstat; marks without a kill and sharers are counted apart; also if records are lost."""
    with unread_ring(size) as ring:
        before = kernel_kills()
        mixed_kills(make_cgroup, grow)
        counted, kills = ring.counted(), ring.take()
        assert kernel_kills() - before == counted.kills + counted.second_kills
    assert (counted.kills, counted.second_kills) == (KILLED, 0)
    assert (counted.marks, counted.shared) == (1, SHARED)
    assert counted.attempted == KILLED + 1 + SHARED
    assert_every_record_is_accounted_for(counted, kills)
    assert (counted.ring_full + counted.over_share > 0) == (size < 1024 * KIB)


def test_without_signals_no_outcome_is_counted(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """Where it is not seen what was a kill, nothing is counted as one, and every mark is in the ring."""
    with unread_ring(1024 * KIB, "tp_btf/signal_generate") as ring:
        grow(make_cgroup("/oomtracer-test").limit(16 * MIB))
        counted, kills = ring.counted(), ring.take()
    assert [kill.outcome for kill in kills] == [Outcome.UNKNOWN]
    assert (counted.attempted, counted.kills, counted.marks, counted.shared) == (1, 0, 0, 0)


@pytest.mark.cgroup("v2")
@pytest.mark.parametrize("size", [8 * KIB, 1024 * KIB])
def test_groups_with_sharers_are_counted_as_the_kernel_does(
    make_cgroup: CgroupMaker, grow: Grow, size: int
) -> None:
    """The chosen one is killed twice, and signalled once more with each member that shares its memory."""
    cgroup = make_cgroup("/oomtracer-test").limit(48 * MIB)
    (cgroup.directory / "memory.oom.group").write_text("1")
    with unread_ring(size) as ring, ExitStack() as stack:
        before = kernel_kills()
        holders = [stack.enter_context(grow.start(cgroup, "hold", 4 * MIB, "0")) for _ in range(3)]
        for holder in holders:
            assert holder.stdout
            assert holder.stdout.readline() == "holding\n"
        grow(cgroup, "shared")
        assert [holder.wait(30) != 0 for holder in holders] == [True] * 3
        counted, kills = ring.counted(), ring.take()
        assert kernel_kills() - before == counted.kills + counted.second_kills
    # The first process of the two that share may be gone before it is its turn as a member.
    assert counted.kills - len(holders) in {1, 2}
    assert (counted.second_kills, counted.shared) == (1, 1)
    assert_every_record_is_accounted_for(counted, kills)


def test_the_audit_of_this_kernel(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """All kinds of kills and a ring that overflows: nothing is unseen; what nobody traced is, after a calm second."""
    with unread_ring(8 * KIB) as ring:

        def read() -> Reading:
            return Reading.take(
                clock=time.monotonic,
                vmstat=facts.oom_kills_since_boot,
                counters=ring.counted,
            )

        before = kernel_kills()
        audit = Audit(Baseline.of([read(), read()]), sees_signals=True)
        mixed_kills(make_cgroup, grow)
        verdict = audit.observe(read(), Processed())
        assert (verdict.before_start, verdict.kernel_kills, verdict.program_kills) == (before, KILLED, KILLED)
        assert (verdict.lost[UNSEEN], verdict.recheck) == (0, False)
        assert verdict.lost["ring_full"] + verdict.lost["over_share"] > 0

        ring.detach()
        grow(make_cgroup("/oomtracer-test/single"))
        wait_until(
            lambda: audit.observe(read(), Processed()).lost[UNSEEN] > 0, "the audit has found the loss"
        )
        verdict = audit.observe(read(), Processed())
        assert (verdict.kernel_kills, verdict.lost[UNSEEN], verdict.recheck) == (KILLED + 1, 1, False)

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.codec import decode
from oomtracer.events import LimitOwner, Outcome, Scope, Source, WorkloadKind
from oomtracer.kernel.clock import wall_clock
from oomtracer.pipeline.attribute import Attributor

from . import records, stacks
from .builders import (
    BOOT_ID,
    CONTAINER,
    CONTAINER_ID,
    MIB,
    POD,
    POD_UID,
    TIME,
    examples,
    kill,
    level,
    trigger,
    victim,
)

SYMBOLS = stacks.Symbols()
MEMCG, MEMBER, SHARER = (SYMBOLS.stack(each) for each in (stacks.MEMCG, stacks.MEMCG_MEMBER, stacks.SHARER))
GLOBAL, SYSRQ = SYMBOLS.stack(stacks.GLOBAL), SYMBOLS.stack(stacks.SYSRQ)


def attributor(nodes: int = 1) -> Attributor:
    """Build one whose clock stands still."""
    return Attributor(
        boot_id=BOOT_ID, node="n", symbols=SYMBOLS, memory_nodes=nodes, wall_clock=lambda _: TIME
    )


def pod_kill(**changes):
    """Build a kill in a container of a pod at its own limit."""
    levels = (level(CONTAINER, 64 * MIB, 64 * MIB), level(POD, 64 * MIB, 256 * MIB))
    plain = {"victim": victim(cgroup=CONTAINER), "trigger": trigger(cgroup=CONTAINER), "levels": levels}
    return kill(**{**plain, "stack": MEMCG, **changes})


def test_the_id_is_boot_process_and_start_time():
    """The same kill has the same id, whoever tells it."""
    report = attributor().report(pod_kill())
    assert report.id == f"{BOOT_ID}:4242:77000000000"
    assert (report.incident, report.time, report.node) == (report.id, TIME, "n")


def test_a_containers_kill_is_told_with_its_pod_container_and_limit():
    """Workload, limit and trigger come from the cgroup paths."""
    report = attributor().report(pod_kill())
    assert (report.workload.kind, report.workload.pod_uid) == (WorkloadKind.POD, POD_UID)
    assert report.workload.container_id == CONTAINER_ID
    assert (report.scope, report.sysrq) == (Scope.MEMCG, False)
    assert (report.limit.owner, report.limit.certain) == (LimitOwner.CONTAINER, True)
    assert report.trigger_workload == report.workload


def test_a_global_kill_has_no_limit():
    """A limit belongs to a memory cgroup's kill alone, however full the victim's own cgroup is."""
    report = attributor().report(pod_kill(stack=GLOBAL))
    assert (report.scope, report.limit) == (Scope.GLOBAL, None)


def test_sysrq_has_no_trigger():
    """Nobody allocated: the worker thread that ran the killer is not told as a trigger."""
    report = attributor().report(pod_kill(stack=SYSRQ))
    assert (report.sysrq, report.scope) == (True, Scope.GLOBAL)
    assert (report.trigger, report.trigger_workload, report.limit) == (None, None, None)


def test_a_trigger_without_a_path_has_no_workload():
    """Where the trigger was is unknown, not the host."""
    report = attributor().report(pod_kill(trigger=trigger(pid=1, cgroup=None)))
    assert report.trigger_workload is None


def test_a_victim_that_is_the_trigger_is_told_once():
    """The same process is in the same workload, also where only the victim's cgroup v2 path is known."""
    kill = pod_kill()
    kill = replace(
        kill,
        victim=replace(kill.victim, cgroup="/system.slice"),
        trigger=replace(kill.trigger, pid=kill.victim.pid, cgroup="/system.slice"),
        unified_cgroup="/system.slice/sshd.service",
    )
    report = attributor().report(kill)
    assert report.workload.unit == "sshd.service"
    assert report.trigger_workload == report.workload


def test_a_mark_alone_is_no_group_kill():
    """A process that was exiting already is not followed by its group, whatever memory.oom.group says."""
    kill = pod_kill()
    levels = tuple(replace(level, oom_group=True) for level in kill.levels)
    marked = replace(kill, levels=levels, outcome=Outcome.ALREADY_EXITING)
    assert attributor().report(marked).group is None
    assert attributor().report(replace(marked, outcome=Outcome.KILLED)).group is not None


def test_a_victim_without_a_path_is_claimed_for_nobody():
    """Where the cgroup is unknown, so is the workload: not resolved, and no unit or pod."""
    workload = attributor().report(pod_kill(victim=victim(cgroup=None))).workload
    assert (workload.kind, workload.resolved) == (WorkloadKind.HOST, False)


def test_without_symbols_the_stack_is_unknown():
    """A stack of bare addresses is never printed, and tells no scope."""
    report = attributor().report(pod_kill(stack=SYMBOLS.stack((None, None))))
    assert (report.kernel_stack, report.scope, report.sysrq, report.limit) == (
        None,
        Scope.UNKNOWN,
        None,
        None,
    )


def test_a_group_of_five_is_one_incident():
    """Members share incident, group and the first one's limit, whatever their own counters say later."""
    mine = attributor()
    group_level = (level(CONTAINER, 64 * MIB, 64 * MIB, oom_group=True), level(POD, 64 * MIB, 256 * MIB))
    emptied = (level(CONTAINER, MIB, 64 * MIB, oom_group=True), level(POD, 255 * MIB, 256 * MIB))
    reports = [mine.report(pod_kill(levels=group_level))]
    for pid in range(1, 5):
        process = victim(cgroup=CONTAINER, pid=pid, start_time_ns=pid)
        reports.append(mine.report(pod_kill(victim=process, levels=emptied, stack=MEMBER)))
    assert {report.incident for report in reports} == {reports[0].id}
    assert [report.group.index for report in reports] == [0, 1, 2, 3, 4]
    assert {report.group.id for report in reports} == {reports[0].id}
    assert all(report.limit == reports[0].limit for report in reports)


def test_a_group_above_the_limit_is_no_group_kill():
    """The kernel looks for memory.oom.group only up to the cgroup whose limit was hit."""
    levels = (level(CONTAINER, 64 * MIB, 64 * MIB), level(POD, 64 * MIB, 256 * MIB, oom_group=True))
    assert attributor().report(pod_kill(levels=levels)).group is None
    assert attributor().report(pod_kill(levels=levels, stack=GLOBAL)).group.index == 0


def test_a_sharer_of_the_memory_belongs_to_the_incident_but_not_to_the_group():
    """A process killed for sharing the victim's memory is neither chosen nor a member."""
    mine = attributor()
    first = mine.report(pod_kill())
    sharer = mine.report(pod_kill(victim=victim(pid=5, cgroup="/x"), shared_memory=True, stack=SHARER))
    assert (sharer.incident, sharer.group, sharer.shared_memory) == (first.id, None, True)
    assert sharer.limit == first.limit


def test_a_member_whose_first_was_lost_opens_its_own_incident():
    """A further victim without a known first is told under its own id."""
    report = attributor().report(pod_kill(stack=MEMBER))
    assert report.incident == report.id
    assert report.group.index == 1


def test_after_a_gap_nobody_joins_what_was_before():
    """The first victim of a member's run may be among the missing: another run's limit and words are not its own."""
    mine = attributor()
    mine.report(pod_kill(source=Source.FENTRY, constraint=3, limit_level=1, order=2))
    mine.forget_incidents()
    member = mine.report(pod_kill(victim=victim(pid=5, cgroup=CONTAINER), stack=MEMBER))
    assert (member.incident, member.order, member.source) == (member.id, None, Source.TP_BTF)


def test_a_limit_below_all_recorded_levels_has_no_group_above_it():
    """By the kernel's word the limit is of a level that is left out; a group further up is not asked for."""
    levels = (level(CONTAINER, 64 * MIB, None), level(POD, 64 * MIB, None, oom_group=True))
    report = attributor().report(pod_kill(levels=levels, levels_complete=False, constraint=3, order=0))
    assert (report.limit, report.group) == (None, None)


def test_two_kills_of_one_trigger_are_two_incidents():
    """A chosen victim opens an incident even if its trigger had one before."""
    mine = attributor()
    first, second = mine.report(pod_kill()), mine.report(pod_kill(victim=victim(pid=9)))
    assert (first.incident, second.incident) == (first.id, second.id)


@pytest.mark.parametrize(
    ("level_of_pid", "container_pid", "cgroup", "died"),
    [(1, 1, CONTAINER, True), (1, 7, CONTAINER, False), (0, 1, CONTAINER, None), (1, 1, "/", None)],
)
def test_init_died_is_told_of_nested_pid_namespaces_alone(level_of_pid, container_pid, cgroup, died):
    """Pid 1 of a nested namespace died, or did not; None on the host and in the root namespace."""
    process = victim(cgroup=cgroup, container_pid=container_pid)
    assert attributor().report(pod_kill(victim=process, pid_namespace_level=level_of_pid)).init_died is died
    unknown = pod_kill(victim=process, pid_namespace_level=None)
    assert attributor().report(unknown).init_died is None


def test_a_self_tests_kill_is_flagged():
    """Only a cgroup of the self-test at the top level makes a report one."""
    assert attributor().report(pod_kill(victim=victim(cgroup="/oomtracer-selftest-7"))).selftest
    assert (
        not attributor().report(pod_kill(victim=victim(cgroup=f"{CONTAINER}/oomtracer-selftest-7"))).selftest
    )


@given(st.lists(records.valid(), max_size=4))
@examples(100)
def test_every_record_that_decodes_gets_a_report(many):
    """Nothing a record can say makes the attribution fail."""
    mine = attributor(nodes=2)
    for data in many:
        one = decode(data)
        report = mine.report(
            kill(**{**{name: getattr(one, name) for name in one.__slots__}, "stack": MEMBER})
        )
        assert report.outcome in Outcome
        assert report.levels == one.levels


def test_the_wall_clock_is_rfc_3339_in_utc():
    """Now on the boot clock is now on the wall, to the microsecond's form."""
    text = wall_clock(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert abs(datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds() < 60


@pytest.mark.parametrize("stack", [MEMBER, SHARER])
def test_further_victims_are_told_what_the_kernel_said_of_the_run(stack):
    """Source, scope, order and flags come from the first victim's record, like the limit."""
    one = attributor()
    said = {"source": Source.FENTRY, "constraint": 3, "limit_level": 1, "order": 2, "gfp_mask": 0xCC0}
    first = one.report(pod_kill(**said))
    second = one.report(
        pod_kill(victim=victim(pid=5, cgroup=CONTAINER), stack=stack, shared_memory=stack is SHARER)
    )
    assert second.incident == first.id != second.id
    assert (second.source, second.order, second.gfp_mask) == (Source.FENTRY, 2, 0xCC0)
    assert (second.scope, second.limit) == (Scope.MEMCG, first.limit)
    assert (first.limit.cgroup, first.limit.certain) == (POD, True)


@pytest.mark.parametrize(("constraint", "scope"), [(1, Scope.CPUSET), (2, Scope.MEMPOLICY)])
def test_a_group_kill_by_cpuset_or_mempolicy_is_told_as_that_throughout(constraint, scope):
    """A member's own record does not say it, and its stack cannot."""
    one = attributor(nodes=2)
    one.report(pod_kill(stack=GLOBAL, constraint=constraint, order=0))
    member = one.report(pod_kill(victim=victim(pid=5), stack=SYMBOLS.stack(stacks.GLOBAL_MEMBER)))
    assert (member.scope, member.limit) == (scope, None)


def test_sysrq_is_known_by_the_order_without_symbols():
    """A kill that nobody's allocation asked for has no trigger."""
    report = attributor().report(pod_kill(stack=(), order=-1, constraint=0))
    assert (report.sysrq, report.scope, report.trigger, report.order) == (True, Scope.GLOBAL, None, -1)

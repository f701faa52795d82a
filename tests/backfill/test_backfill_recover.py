"""Which kills of the log become reports, and what those say."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from oomtracer.backfill import Backfill, KnownKill, LogRead, parse, recover
from oomtracer.backfill.match import match, tolerance_ns
from oomtracer.events import Outcome, Scope, Source, WorkloadKind
from oomtracer.sinks.console import block
from oomtracer.sinks.jsonl import json_line
from tests.unit.builders import BOOT_ID, CONTAINER, CONTAINER_ID, POD_UID, TIME, examples, unfit
from tests.unit.test_schema import STRICT

from . import printed
from .printed import NO_LIMIT_KIB, Kill
from .test_backfill_properties import kills

SECOND_NS = 1_000_000_000
ALWAYS_NS = 1 << 62
HOUR_US = 3_600_000_000


def log_of(lines, suspended_ns: int = 0) -> LogRead:
    """What a reader makes of these lines."""
    return LogRead(
        kills=tuple(parse(lines)),
        source="kmsg",
        records=len(lines),
        overwritten=0,
        suspended_ns=suspended_ns,
        fault="",
    )


def recovered(log: LogRead, known=(), before_ns: int = ALWAYS_NS) -> Backfill:
    """What is recovered of it."""
    return recover(
        log,
        known,
        boot_id=BOOT_ID,
        node="node-1",
        before_boot_time_ns=before_ns,
        wall_clock=lambda _: TIME,
    )


def report_of(kill: Kill):
    """The report of one invocation."""
    [report] = recovered(log_of(printed.invocation(kill))).reports
    return report


def known(**changes) -> KnownKill:
    """The plain kill, as a hook told it."""
    plain = KnownKill(id=f"{BOOT_ID}:4242:1", pid=4242, tid=4242, comm="shop", boot_time_ns=99 * SECOND_NS)
    return replace(plain, **changes)


def test_a_report_says_what_the_log_says_and_no_more():
    """Every value of it, and None for the others."""
    report = report_of(Kill(oom_memcg=CONTAINER, task_memcg=f"{CONTAINER}/inner", order=3, gfp_mask=0x100))
    assert report.id == report.incident == f"{BOOT_ID}:4242:log-99000000"
    assert (report.source, report.outcome, report.scope) == (Source.KMSG, Outcome.KILLED, Scope.MEMCG)
    assert (report.boot_time_ns, report.time, report.node) == (99 * SECOND_NS, TIME, "node-1")
    assert (report.sysrq, report.order, report.gfp_mask, report.selftest) == (False, 3, 0x100, False)
    victim = report.victim
    assert (victim.pid, victim.tid, victim.comm, victim.uid, victim.oom_score_adj) == (
        4242,
        4242,
        "shop",
        1000,
        -998,
    )
    assert (victim.total_vm_bytes, victim.anon_rss_bytes) == (66780 << 10, 16384 << 10)
    assert (victim.file_rss_bytes, victim.shmem_rss_bytes, victim.page_tables_bytes) == (
        592 << 10,
        4 << 10,
        68 << 10,
    )
    assert (victim.start_time_ns, victim.swap_bytes, victim.container_pid, victim.cmdline) == (None,) * 4
    assert (report.levels, report.kernel_stack, report.init_died, report.group) == ((), None, None, None)
    assert report.limit
    assert (report.limit.cgroup, report.limit.owner, report.limit.certain) == (CONTAINER, "container", True)
    assert report.limit.limit_bytes == report.limit.usage_bytes == 64 << 20
    workload = report.workload
    assert (workload.kind, workload.pod_uid, workload.container_id) == (
        WorkloadKind.POD,
        POD_UID,
        CONTAINER_ID,
    )
    assert report.trigger
    assert report.trigger.cgroup == victim.cgroup == f"{CONTAINER}/inner"
    assert report.trigger_workload == workload


def test_the_same_line_has_the_same_id():
    """Whenever it is read, and whatever else is in the log by then."""
    lines = printed.invocation(Kill())
    early, late = log_of(lines), log_of([printed.killed(Kill(pid=3)), *lines, printed.killed(Kill(pid=5))], 7)
    [report] = recovered(early).reports
    assert report.id in {each.id for each in recovered(late).reports}


def test_a_limit_that_is_none_has_no_size():
    """A kernel memory limit, say, can be the one that was hit: the others are as good as none."""
    report = report_of(Kill(limit_kib=NO_LIMIT_KIB))
    assert report.limit
    assert (report.limit.limit_bytes, report.limit.usage_bytes) == (None, 64 << 20)


@pytest.mark.parametrize(
    ("constraint", "scope"),
    [("NONE", "global"), ("CPUSET", "cpuset"), ("MEMORY_POLICY", "mempolicy"), ("BPF", "unknown")],
)
def test_scopes(constraint, scope):
    """The kernel's own word; one that is not known yet is unknown."""
    report = report_of(Kill(constraint=constraint, oom_memcg=None, message="Out of memory"))
    assert (report.scope, report.limit, report.sysrq) == (scope, None, False)


def test_without_a_dump_a_kill_outside_of_memory_cgroups_has_no_scope():
    """The line is the same for a global, a cpuset's and a sysrq kill."""
    [report] = recovered(log_of([printed.killed(Kill(message="Out of memory"))])).reports
    assert (report.scope, report.sysrq, report.limit, report.trigger) == ("unknown", None, None, None)
    assert not report.workload.resolved


def test_sysrq_blames_nobody():
    """Order -1: no allocation asked for it."""
    report = report_of(Kill(order=-1, constraint="NONE", oom_memcg=None, message="Out of memory"))
    assert (report.scope, report.sysrq, report.order, report.trigger) == ("global", True, -1, None)


def test_a_group_is_one_incident_of_one_container():
    """Of the members the log tells no cgroup, but the container that was killed as a whole."""
    head = Kill(oom_memcg=CONTAINER, task_memcg=CONTAINER, others=((7, "a"),))
    member = replace(head, pid=7, comm="a")
    lines = [
        *printed.invocation(head),
        printed.group(CONTAINER),
        printed.killed(head),
        printed.killed(member),
    ]
    first, second = recovered(log_of(lines)).reports
    assert (first.group.id, first.group.index, second.group.index) == (first.id, 0, 1)
    assert first.incident == second.incident == second.group.id == first.id
    assert second.limit == first.limit
    assert (second.victim.cgroup, second.workload) == (None, first.workload)
    [only] = recovered(log_of(lines), [known()]).reports
    assert (only.victim.pid, only.incident) == (7, known().id)


def test_a_known_kill_is_matched():
    """By process, name and time; the thread's number counts as the process's."""
    log = log_of(printed.invocation(Kill()))
    for same in (known(), known(pid=1), known(tid=None), known(boot_time_ns=100 * SECOND_NS)):
        found = recovered(log, [same])
        assert (found.reports, found.matched, found.later) == ((), 1, 0)
    for other in (known(pid=1, tid=1), known(comm="x"), known(boot_time_ns=200 * SECOND_NS)):
        found = recovered(log, [other])
        assert (len(found.reports), found.matched) == (1, 0)


def test_a_known_kill_stands_for_one_line():
    """A process id that came again is another kill: the nearer one is the known one."""
    lines = [printed.killed(Kill(time_us=99_000_000)), printed.killed(Kill(time_us=102_000_000))]
    log = log_of(lines)
    [report] = recovered(log, [known(boot_time_ns=101 * SECOND_NS)]).reports
    assert report.boot_time_ns == 99 * SECOND_NS
    assert (
        recovered(log, [known(), known(id=f"{BOOT_ID}:4242:2", boot_time_ns=102 * SECOND_NS)]).reports == ()
    )


def test_the_tolerance_grows_with_age_and_suspend():
    """500 ppm of a month are 22 minutes; how long the machine slept is nobody's to place."""
    assert tolerance_ns(0, 0) == 5 * SECOND_NS
    assert tolerance_ns(30 * 24 * HOUR_US, 0) == (5 + 1296) * SECOND_NS
    assert tolerance_ns(0, 7) == 5 * SECOND_NS + 7
    hours = [tolerance_ns(hour * HOUR_US, 0) for hour in range(50)]
    assert all(later > earlier for earlier, later in pairwise(hours))


@pytest.mark.parametrize("slept_first", [False, True])
def test_a_kill_before_or_after_suspend_is_known(slept_first):
    """The log's clock stood still meanwhile, the boot clock did not."""
    slept_ns = 3_600 * SECOND_NS
    log = log_of(printed.invocation(Kill()), slept_ns)
    true_ns = 99 * SECOND_NS + (slept_ns if slept_first else 0)
    assert recovered(log, [known(boot_time_ns=true_ns)]).matched == 1


def test_what_the_ring_has_is_not_recovered():
    """Surely later than the attach: reported, or counted as lost, by others."""
    log = log_of(printed.invocation(Kill()))
    found = recovered(log, before_ns=90 * SECOND_NS)
    assert (found.reports, found.matched, found.later) == ((), 0, 1)
    assert len(recovered(log, before_ns=98 * SECOND_NS).reports) == 1  # within the tolerance


@given(st.lists(kills(), max_size=4), st.integers(0, 2**40))
@examples(150)
def test_every_report_fits_the_schema_and_the_terminal(made, suspended_ns):
    """Whatever the names are; and the number of kills is the number of reports, with ids of their own."""
    lines = printed.spread([line for kill in made for line in printed.invocation(kill)])
    reports = recovered(log_of(lines, suspended_ns)).reports
    assert len({report.id for report in reports}) == len(made)
    for report in reports:
        STRICT.validate(json.loads(json_line(report)))
        text = block(report)
        assert unfit(text.replace("\n", "")) == set()
        assert "[from the kernel's log]" in text


@given(st.lists(st.integers(0, 20), max_size=6), st.lists(st.integers(0, 20), max_size=6))
@examples(200)
def test_matching_is_one_to_one(logged, told):
    """No kill is known twice, none stands for two, and as many are paired as are near enough to be."""
    log = parse([printed.killed(Kill(time_us=at * 1_000_000)) for at in logged])
    all_known = [known(id=str(i), boot_time_ns=at * SECOND_NS) for i, at in enumerate(told)]
    found = match(log, all_known, 0)
    assert len(set(found.values())) == len(found)
    for i, id_ in found.items():
        assert abs(logged[i] - told[int(id_)]) * SECOND_NS <= tolerance_ns(logged[i] * 1_000_000, 0)
    left = [at for i, at in enumerate(logged) if i not in found]
    free = [at for i, at in enumerate(told) if str(i) not in found.values()]
    assert not [1 for at in left for other in free if abs(at - other) <= 5]


def test_the_schema_knows_both_kinds_of_id():
    """A start time, or the log's time: nothing else."""
    validator = Draft202012Validator(STRICT.schema)
    report = json.loads(json_line(report_of(Kill())))
    assert validator.is_valid(report)
    for wrong in ("log-", "log--1", "lag-1", "-1"):
        assert not validator.is_valid(report | {"id": f"{BOOT_ID}:4242:{wrong}"})


SHORT_BLOCK = f"""\
{TIME} OOM kill [from the kernel's log]: shop (pid 4242) in an unknown cgroup: a cgroup is at its limit
  victim   shop, pid 4242, uid 1000, oom_score_adj -998: killed
  memory   anon 16.0 MiB, file 592 KiB, shmem 4.0 KiB, swap ?, page tables 68.0 KiB, virtual 65.2 MiB
  cgroup   ?
  trigger  ?

"""


def test_the_text_of_a_report_says_what_is_unknown():
    """Neither the host nor nobody is claimed where the log does not say; a trigger is a thread then."""
    [report] = recovered(log_of([printed.killed(Kill())])).reports
    assert block(report) == SHORT_BLOCK
    old = replace(report, victim=replace(report.victim, uid=None, oom_score_adj=None))
    assert "pid 4242, uid ?, oom_score_adj ?: killed" in block(old)
    threads = report_of(Kill(trigger=77, trigger_comm="other", is_trigger_listed=False))
    assert "  trigger  other (thread 77)\n" in block(threads)
    asked_for = report_of(Kill(order=-1, constraint="NONE", oom_memcg=None, message="Out of memory"))
    assert "  trigger  none\n" in block(asked_for)


def test_a_group_that_is_a_slice_names_nobody():
    """Below a slice there can be any unit: of a member that the log gives no cgroup, nothing is claimed."""
    head = Kill(others=((7, "a"),))
    lines = [
        *printed.invocation(head),
        printed.group("/shop.slice"),
        printed.killed(replace(head, pid=7, comm="a")),
    ]
    first, second = recovered(log_of(lines)).reports
    assert (first.workload.unit, second.group.index) == ("shop.service", 1)
    assert (second.workload.unit, second.workload.resolved) == (None, False)

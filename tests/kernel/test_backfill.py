"""The kernel's real log of real kills, read by both interfaces and held against the reports of the hooks."""

from __future__ import annotations

import json
import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oomtracer.backfill import KnownKill, LoggedKill, LogRead, read_log, recover
from oomtracer.kernel import facts
from oomtracer.sinks.jsonl import to_json
from tests.kernel.agent import PUBLISHED, Agent, Report
from tests.kernel.conftest import MIB
from tests.kernel.test_group import MEMBERS, kill_a_group
from tests.kernel.test_reports import CONSTRAINTS, assert_agrees
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog
    from tests.kernel.kernel_log import LoggedKill as OracleKill

NOWHERE = Path("/nonexistent/kmsg")
INTERFACES = pytest.mark.parametrize("path", [Path("/dev/kmsg"), NOWHERE], ids=["kmsg", "syslog"])
# What the tolerance allows for waiting, without its share for drift and suspend.
NEAR_NS = 1_000_000_000
# Of a log that may hold thousands of kills, those of the test itself.
MOST_VALIDATED = 40


@pytest.fixture(scope="module")
def agent(machine: None) -> Iterator[Agent]:
    """One agent for all tests of this module."""
    with Agent() as running:
        yield running


def recovered(log: LogRead, known: Iterable[KnownKill] = ()) -> list[Report]:
    """The reports that the log gives, as the published schema has them."""
    found = recover(log, known, boot_id=facts.boot_id(), node="node", before_boot_time_ns=1 << 62)
    reports = [json.loads(json.dumps(to_json(report))) for report in found.reports]
    for report in reports[-MOST_VALIDATED:]:
        PUBLISHED.validate(report)
    return reports


def of_thread(reports: list[Report], tid: int) -> Report:
    """The log's newest report of a thread."""
    return [report for report in reports if report["victim"]["tid"] == tid][-1]


def known(report: Report) -> KnownKill:
    """A report of the hooks, as the journal would give it back."""
    victim = report["victim"]
    return KnownKill(
        id=report["id"],
        pid=victim["pid"],
        tid=victim["tid"],
        comm=victim["comm"],
        boot_time_ns=report["boot_time_ns"],
    )


def assert_is_the_logs(report: Report, logged: OracleKill) -> None:
    """Every value that the log has, to the kilobyte."""
    victim = report["victim"]
    assert report["source"] == "kmsg"
    assert victim["comm"] == logged.comm.decode("utf-8", "replace")
    assert (victim["uid"], victim["oom_score_adj"]) == (logged.uid, logged.oom_score_adj)
    assert victim["total_vm_bytes"] == logged.total_vm_kib * 1024
    assert victim["anon_rss_bytes"] == logged.anon_kib * 1024
    assert victim["file_rss_bytes"] == logged.file_kib * 1024
    assert victim["shmem_rss_bytes"] == logged.shmem_kib * 1024
    assert victim["page_tables_bytes"] == logged.page_tables_kib * 1024
    if logged.constraint:
        assert report["scope"] == CONSTRAINTS[logged.constraint]
        assert victim["cgroup"] == logged.task_memcg
        assert (report["limit"] and report["limit"]["cgroup"]) == logged.oom_memcg


def assert_same_kill(told: Report, hooks: Report, *, is_broken: bool = False) -> None:
    """What the log says of a kill is what the hooks said of it.

    Broken: syslog(2) gives a name with a line break as two lines, and what stands between is nobody's.
    """
    assert abs(told["boot_time_ns"] - hooks["boot_time_ns"]) < NEAR_NS
    same = ("pid", "tid", "comm", "uid", "oom_score_adj", "cgroup")
    assert {key: told["victim"][key] for key in same} == {key: hooks["victim"][key] for key in same}
    for key in ("outcome", "scope", "workload", "node")[:3]:
        assert told[key] == hooks[key] or hooks[key] == "unknown"
    for key in ("order", "gfp_mask"):
        assert told[key] == hooks[key] or hooks[key] is None or (is_broken and told[key] is None)
    if hooks["limit"] and hooks["limit"]["certain"]:
        for key in ("cgroup", "owner", "limit_bytes"):
            unknown = is_broken and key == "limit_bytes" and told["limit"][key] is None
            assert unknown or told["limit"][key] == hooks["limit"][key]


@INTERFACES
def test_a_kill_at_its_own_limit(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, path: Path
) -> None:
    """The log tells the same kill: who, whose, how large, at which limit, asked for by whom."""
    cgroup = make_cgroup("/system.slice/oomtracer-test.service").limit(16 * MIB)
    logged = kernel_log.paced(lambda: grow(cgroup))
    hooks = agent.report_of(logged.tid)
    log = read_log(path)
    assert (log.fault, log.source) == ("", "syslog" if path == NOWHERE else "kmsg")
    told = of_thread(recovered(log), logged.tid)
    assert_is_the_logs(told, logged)
    assert_agrees(hooks, logged)
    assert_same_kill(told, hooks)
    assert told["limit"]["limit_bytes"] == 16 * MIB
    assert told["limit"]["usage_bytes"] <= 16 * MIB
    assert told["trigger"]["pid"] == hooks["trigger"]["pid"] == logged.tid
    assert told["trigger"]["cgroup"] == cgroup.path
    assert told["id"].startswith(f"{facts.boot_id()}:{logged.tid}:log-")
    assert told["incident"] == told["id"]
    assert not {key for key in ("start_time_ns", "swap_bytes", "container_pid") if told["victim"][key]}
    assert known(hooks).id not in {report["id"] for report in recovered(log)}


@INTERFACES
def test_a_known_kill_is_not_told_again(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, path: Path
) -> None:
    """A kill that the hooks reported is the one in the log, and no other is."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    hooks = [agent.report_of(grow(cgroup)) for _ in range(3)]
    log = read_log(path)
    before = {report["id"]: report["victim"]["pid"] for report in recovered(log)}
    after = {report["id"] for report in recovered(log, [known(report) for report in hooks])}
    left_out = [pid for id_, pid in before.items() if id_ not in after]
    assert left_out == [report["victim"]["pid"] for report in hooks]


def test_the_victim_is_not_the_trigger(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """The task that asked for memory is told apart, and of its cgroup nothing is claimed."""
    parent = make_cgroup("/oomtracer-test").limit(48 * MIB)
    triggers: list[int] = []
    others: list[int] = []

    def kill_the_holder() -> int:
        with grow.start(parent.below("holder"), "hold", 24 * MIB) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == "holding\n"
            with grow.start(parent.below("grower"), "grow", 32 * MIB) as grower:
                others[:] = [grower.pid] if grower.wait(30) != 0 else []
            assert holder.wait(30) != 0
        triggers.append(grower.pid)
        return holder.pid

    logged = kernel_log.paced(kill_the_holder)
    hooks = agent.report_of(logged.tid)
    for pid in others:
        agent.report_of(pid)
    told = of_thread(recovered(read_log()), logged.tid)
    assert_is_the_logs(told, logged)
    assert_same_kill(told, hooks)
    assert told["trigger"]["pid"] == hooks["trigger"]["pid"] == triggers[-1]
    assert (told["trigger"]["comm"], told["trigger"]["cgroup"]) == (hooks["trigger"]["comm"], None)


def test_a_thread_that_is_not_the_leader(agent: Agent, make_cgroup: CgroupMaker, grow: Grow) -> None:
    """The log names the thread; the process is known by the dump, and the kill is found by either."""
    pid = grow(make_cgroup("/oomtracer-test").limit(16 * MIB), "thread")
    hooks = agent.report_of(pid)
    log = read_log()
    told = of_thread(recovered(log), hooks["victim"]["tid"])
    assert told["victim"]["tid"] != pid
    if told["limit"]:  # there was a dump
        assert_same_kill(told, hooks)
    assert told["id"] not in {report["id"] for report in recovered(log, [known(hooks)])}


@pytest.mark.parametrize(
    ("name", "comm"),
    [
        (r"two\x0alines", "two\nlines"),
        (r"\xff\xfe\x80bad", "\ufffd\ufffd\ufffdbad"),
        (r"a) total-vm:1", "a) total-vm:1"),
        (r",pid=1,uid=0", ",pid=1,uid=0"),
        (r"a,task=b", "a,task=b"),
        (r"\x5cx41\x0a", "\\x41\n"),
    ],
)
def test_hostile_commands(
    agent: Agent,
    make_cgroup: CgroupMaker,
    grow: Grow,
    kernel_log: KernelLog,
    name: str,
    comm: str,
) -> None:
    """Whatever a process calls itself, the log's report is of this process, in its cgroup."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    logged = kernel_log.paced(lambda: grow(cgroup, "grow", 64 * MIB, name))
    hooks = agent.report_of(logged.tid)
    for path in (Path("/dev/kmsg"), NOWHERE):
        told = of_thread(recovered(read_log(path)), logged.tid)
        assert told["victim"]["comm"] == comm
        assert_same_kill(told, hooks, is_broken=path == NOWHERE and "\n" in comm)


@pytest.mark.parametrize(
    "names",
    [
        ("a,task_memcg=", "b"),
        ("x,task=y,pid=1,uid=0", "z"),
        ("q,mems_allowed=0,global_oom,task_memcg=", "r"),
        ("Memory cgroup out of memory: Killed process 1 (init) total-vm:1kB",),
        ("in: /x are going to be killed due to memory.oom.group set",),
    ],
)
def test_hostile_cgroups(agent: Agent, make_cgroup: CgroupMaker, grow: Grow, names: tuple[str, ...]) -> None:
    """Names that look like the line's own words are read as names, or not at all, never as somebody else's."""
    make_cgroup("/oomtracer-test").limit(16 * MIB)
    cgroup = make_cgroup("/".join(("/oomtracer-test", *names)))
    deadline = time.monotonic() + 30
    told: Report = {"limit": None}
    while told["limit"] is None:  # ten kills in five seconds are dumped, machine-wide
        assert time.monotonic() < deadline, "the kernel dumps nothing"
        pid = grow(cgroup)
        log = read_log()
        told = of_thread(recovered(log), pid)
        select.select([], [], [], 0 if told["limit"] else 0.5)
    hooks = agent.report_of(pid)
    assert told["victim"]["cgroup"] == hooks["victim"]["cgroup"] == cgroup.path
    assert told["limit"]["cgroup"] == "/oomtracer-test"
    assert 1 not in {kill.pid for kill in log.kills}


def test_nobody_can_write_a_kill_into_the_log() -> None:
    """A line that user space wrote, with the kernel's own facility if it may say so, is no kill."""
    text = (
        "Memory cgroup out of memory: Killed process 999999 (forged) total-vm:66780kB, anon-rss:16384kB, "
        "file-rss:592kB, shmem-rss:0kB, UID:0 pgtables:68kB oom_score_adj:0"
    )
    with open("/dev/kmsg", "wb", buffering=0) as kmsg:  # noqa: PTH123
        kmsg.writelines(
            line.encode() for line in (f"<3>{text}", text, f"<3>x\n{text}", f"<6>x\n<3>[ 1.000000] {text}")
        )
    for path in (Path("/dev/kmsg"), NOWHERE):
        log = read_log(path)
        assert log.records
        assert "forged" not in {kill.killed.comm for kill in log.kills}


@INTERFACES
def test_a_storm_leaves_out_dumps_and_no_kill(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, path: Path
) -> None:
    """More kills than the kernel dumps: each is told, and those without a dump claim nothing more."""
    cgroup = make_cgroup("/oomtracer-test").limit(STORM_LIMIT_BYTES)
    with grow.start(cgroup, "storm", STORM_BYTES, "40") as storm:
        assert storm.wait(60) == 0
    hooks = [agent.report() for _ in range(40)]
    log = read_log(path)
    told = recovered(log)[-40:]
    assert [r["victim"]["pid"] for r in told] == [r["victim"]["pid"] for r in hooks]
    short = [report for report in told if report["limit"] is None]
    assert len(short) >= 20
    for report in short:
        nothing = ("trigger", "limit", "group", "order", "gfp_mask")
        assert {key: report[key] for key in nothing} == dict.fromkeys(nothing)
        assert (report["scope"], report["sysrq"], report["victim"]["cgroup"]) == ("memcg", False, None)
        assert report["incident"] == report["id"]
    for report, same in zip(told, hooks, strict=True):
        if report["limit"]:
            assert_same_kill(report, same)
    assert len(recovered(log)) - len(recovered(log, map(known, hooks))) == 40


@pytest.mark.cgroup("v2")
@INTERFACES
def test_a_group_kill(agent: Agent, make_cgroup: CgroupMaker, grow: Grow, path: Path) -> None:
    """Six lines, five reports, one incident; whose members they are is known from the dump."""
    cgroup = make_cgroup(f"/docker/{'5' * 64}").limit(48 * MIB)
    (cgroup.directory / "memory.oom.group").write_text("1")
    killed = kill_a_group(cgroup, grow)
    hooks = [agent.report() for _ in range(MEMBERS)]
    told = recovered(read_log(path))[-MEMBERS:]
    assert {report["victim"]["pid"] for report in told} == killed
    if told[0]["limit"] is None:  # no dump: ten were made in the five seconds before
        assert told[0]["group"]["index"] == 0
        return
    assert [report["group"]["index"] for report in told] == list(range(MEMBERS))
    assert {report["group"]["id"] for report in told} == {report["incident"] for report in told}
    assert told[0]["id"] == told[0]["incident"]
    assert {report["limit"]["cgroup"] for report in told} == {cgroup.path}
    assert {report["workload"]["container_id"] for report in told} == {"5" * 64}
    for report, same in zip(told, hooks, strict=True):
        assert report["victim"]["pid"] == same["victim"]["pid"]


def test_both_interfaces_tell_the_same(make_cgroup: CgroupMaker, grow: Grow) -> None:
    """The same kills, line by line; only what a dump adds can be less in the text that has no records."""
    grow(make_cgroup("/oomtracer-test").limit(16 * MIB))
    kmsg, text = read_log(), read_log(NOWHERE)
    assert kmsg.overwritten is not None
    assert text.overwritten is None
    assert _lines(kmsg) == _lines(text)
    assert _lines(kmsg)


def _lines(log: LogRead) -> list[Any]:
    return [kill.killed for kill in log.kills]


def test_a_reader_without_the_right_is_told_so() -> None:
    """Without the device and without CAP_SYSLOG the fault says of both why, unless everybody may read the log."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        os.write(write_end, read_log(NOWHERE).fault.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        fault = told.read()
    assert os.waitpid(child, 0)[1] == 0
    if int(Path("/proc/sys/kernel/dmesg_restrict").read_text()):
        assert "cannot open /nonexistent/kmsg: ENOENT" in fault
        assert "syslog(2): EPERM" in fault
    else:
        assert fault == ""


def test_the_clocks_agree(agent: Agent, make_cgroup: CgroupMaker, grow: Grow) -> None:
    """The log's time of a kill is the boot clock's, far within the tolerance, where there was no suspend."""
    hooks = agent.report_of(grow(make_cgroup("/oomtracer-test").limit(16 * MIB)))
    log = read_log()
    kill: LoggedKill = [k for k in log.kills if k.killed.tid == hooks["victim"]["tid"]][-1]
    if log.suspended_ns == 0:
        assert abs(kill.killed.time_us * 1_000 - hooks["boot_time_ns"]) < NEAR_NS

"""Reports of real kills, held against what the kernel's own log says of them."""

from __future__ import annotations

import os
import platform
import resource
from functools import cache
from typing import TYPE_CHECKING

import pytest

from oomtracer.kernel import facts
from oomtracer.libbpf import Btf
from tests.kernel.agent import Agent
from tests.kernel.conftest import MIB
from tests.kernel.variants import PROBES, default_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.agent import Report
    from tests.kernel.conftest import CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog, LoggedKill

LOGGED_SIZES = {
    "total_vm": "total_vm_kib",
    "anon_rss": "anon_kib",
    "file_rss": "file_kib",
    "shmem_rss": "shmem_kib",
    "page_tables": "page_tables_kib",
}
RELEASE = tuple(int(part) for part in platform.release().split(".")[:2])
# The log of 7.3 adds what each CPU has not folded into a counter yet (percpu_counter_batch pages); that of 6.18 does not.
CPUS = os.cpu_count() or 1
UNFOLDED_KIB = max(32, 2 * CPUS) * CPUS * resource.getpagesize() // 1024 if RELEASE >= (7, 0) else 0
# Before 6.2 each thread keeps its last pages apart (TASK_RSS_EVENTS_THRESH), up to its end: a victim that ends
# between its mark and its line in the log has them there only.
UNSYNCED_KIB = 64 * resource.getpagesize() // 1024
# WALK_MAX of bpf/src/compat.bpf.h, and the sixteen that are told.
WALKED_LEVELS = 256 + 16
CONSTRAINTS = {
    "CONSTRAINT_MEMCG": "memcg",
    "CONSTRAINT_NONE": "global",
    "CONSTRAINT_CPUSET": "cpuset",
    "CONSTRAINT_MEMORY_POLICY": "mempolicy",
}


@cache
def threads_keep_pages() -> bool:
    """Whether this kernel has counters of pages in each thread (before 6.2)."""
    with Btf.of_kernel() as btf:
        members = btf.members("task_struct")
    assert members
    return "rss_stat" in {member.name for member in members}


@pytest.fixture(scope="module")
def agent(machine: None) -> Iterator[Agent]:
    """One agent for all tests of this module."""
    with Agent() as running:
        yield running


def is_running_on(report: Report) -> bool:
    """A victim that is not the one that allocates does not wait for the kernel's log."""
    return report["trigger"] is None or report["trigger"]["pid"] != report["victim"]["pid"]


def can_know_scope(report: Report) -> bool:
    """By the kernel's word, or by its stack; that tells no more than a memcg's kills on several memory nodes."""
    of_memcg = any(frame.startswith("mem_cgroup") for frame in report["kernel_stack"])
    return report["source"] in PROBES or of_memcg or facts.memory_nodes() == 1


def assert_agrees(report: Report, logged: LoggedKill) -> None:
    """Every value that the kernel's log has is the report's too."""
    victim = report["victim"]
    assert victim["tid"] == logged.tid
    assert victim["uid"] == logged.uid
    assert victim["oom_score_adj"] == logged.oom_score_adj
    told = {size: victim[f"{size}_bytes"] // 1024 for size in LOGGED_SIZES}
    tolerance = UNSYNCED_KIB if threads_keep_pages() and is_running_on(report) else UNFOLDED_KIB
    allowed = {size: tolerance if size.endswith("_rss") else 0 for size in LOGGED_SIZES}
    logged_sizes = {size: getattr(logged, attribute) for size, attribute in LOGGED_SIZES.items()}
    differences = {size: abs(told[size] - logged_sizes[size]) for size in LOGGED_SIZES}
    assert all(differences[size] <= allowed[size] for size in LOGGED_SIZES), (told, logged_sizes)
    if logged.constraint:
        assert report["scope"] == (CONSTRAINTS[logged.constraint] if can_know_scope(report) else "unknown")
        assert victim["cgroup"] == logged.task_memcg
        limit = report["limit"]
        assert not limit or not limit["certain"] or limit["cgroup"] == logged.oom_memcg


def test_a_kill_at_its_own_limit(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """The plain case: one process, one limited cgroup, everything known and certain."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    logged = kernel_log.paced(lambda: grow(cgroup))
    pid = logged.tid
    report = agent.report_of(pid)
    assert_agrees(report, logged)
    assert report["victim"]["comm"].encode() == logged.comm
    assert (report["outcome"], report["sysrq"], report["source"]) == ("killed", False, default_source())
    assert report["trigger"]["pid"] == pid
    assert report["limit"]["cgroup"] == logged.oom_memcg == "/oomtracer-test"
    assert report["limit"]["certain"]
    assert report["limit"]["limit_bytes"] == 16 * MIB
    assert [level["limit_bytes"] for level in report["levels"]] == [16 * MIB]
    assert any(frame.startswith("oom_kill_process+") for frame in report["kernel_stack"])
    assert report["incident"] == report["id"]
    assert not report["selftest"]


def test_the_victim_is_not_the_trigger(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """A process that allocates can make the kernel kill another one, in another cgroup below the limit."""
    parent = make_cgroup("/oomtracer-test").limit(48 * MIB)
    triggers: list[int] = []
    followed: list[int] = []  # killed too, where the holder's memory comes back late

    def kill_the_holder() -> int:
        with grow.start(parent.below("holder"), "hold", 24 * MIB) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == "holding\n"
            with grow.start(parent.below("grower"), "grow", 32 * MIB) as grower:
                followed[:] = [grower.pid] if grower.wait(30) != 0 else []
            assert holder.wait(30) != 0
        triggers.append(grower.pid)
        return holder.pid

    logged = kernel_log.paced(kill_the_holder)
    report = agent.report_of(logged.tid)
    for pid in followed:
        agent.report_of(pid)
    assert_agrees(report, logged)
    assert report["trigger"]["pid"] == triggers[-1]
    assert report["victim"]["cgroup"] == "/oomtracer-test/holder"
    assert report["trigger"]["cgroup"] == "/oomtracer-test/grower"
    assert report["limit"]["cgroup"] == logged.oom_memcg == "/oomtracer-test"
    assert report["limit"]["certain"]


def test_a_thread_that_is_not_the_leader(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """The kernel marks a thread; the report names the process, and the thread apart."""
    pid = grow(make_cgroup("/oomtracer-test").limit(16 * MIB), "thread")
    report = agent.report_of(pid)
    assert report["victim"]["tid"] != pid
    assert_agrees(report, kernel_log.kill_of(report["victim"]["tid"]))


def test_a_process_that_shares_the_victims_memory(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """Who shares the victim's memory dies with it: two reports, one incident, told apart."""
    before = facts.oom_kills_since_boot()
    pid = grow(make_cgroup("/oomtracer-test").limit(16 * MIB), "share")
    first = agent.report()
    second = agent.report()
    marked, shared = (first, second) if not first["shared_memory"] else (second, first)
    assert pid in (marked["victim"]["pid"], shared["victim"]["pid"])
    assert marked["victim"]["pid"] != shared["victim"]["pid"]
    assert shared["shared_memory"]
    assert not marked["shared_memory"]
    assert facts.oom_kills_since_boot() == before + 1  # the kernel counts the marked one alone
    assert shared["incident"] == marked["incident"] == marked["id"]
    assert shared["limit"] == marked["limit"]
    assert_agrees(marked, kernel_log.kill_of(marked["victim"]["tid"]))


def test_process_one_of_a_container(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """In a container the report tells the process id seen inside, and that its process 1 died."""
    container_id = "0123456789abcdef" * 4
    cgroup = make_cgroup(f"/docker/{container_id}").limit(16 * MIB)
    with grow.start(cgroup, "init", 64 * MIB) as parent:
        assert parent.wait(30) == 0
    report = agent.report()
    assert report["victim"]["container_pid"] == 1
    assert report["victim"]["pid"] != 1
    assert report["init_died"] is True
    assert report["workload"]["kind"] == "container"
    assert report["workload"]["container_id"] == container_id
    assert report["limit"]["owner"] == "container"
    assert_agrees(report, kernel_log.kill_of(report["victim"]["tid"]))


@pytest.mark.parametrize(
    ("path", "workload", "owner"),
    [
        (
            "/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef/" + "5" * 64,
            {"kind": "pod", "pod_uid": "01234567-89ab-cdef-0123-456789abcdef", "container_id": "5" * 64},
            "container",
        ),
        (
            "/system.slice/oomtracer-test.service",
            {"kind": "unit", "unit": "oomtracer-test.service", "slice": "system.slice"},
            "unit",
        ),
        ("/oomtracer-test", {"kind": "host", "unit": None}, "other"),
    ],
)
def test_whose_process_it_was(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, path: str, workload: dict[str, str], owner: str
) -> None:
    """A real cgroup of a pod's, a unit's or nobody's name is told as such."""
    pid = grow(make_cgroup(path).limit(16 * MIB))
    report = agent.report_of(pid)
    assert {key: report["workload"][key] for key in workload} == workload
    assert report["limit"]["owner"] == owner


@pytest.mark.parametrize("depth", [12, 16, 17, 40, 300])
def test_deep_paths_keep_their_root(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, depth: int
) -> None:
    """Sixteen levels are told in full; of more, those next to the root, and that some are missing."""
    names = ["oomtracer-test", *(f"level{i}" for i in range(1, depth))]
    top = make_cgroup("/oomtracer-test").limit(16 * MIB)
    pid = grow(make_cgroup("/" + "/".join(names)))
    report = agent.report_of(pid)
    if depth > WALKED_LEVELS and RELEASE < (6, 1):  # a cgroup has not all its ancestors yet
        assert (report["victim"]["cgroup"], report["levels"], report["limit"]) == (None, [], None)
        return
    whole = "/" + "/".join(names[:16])
    assert report["victim"]["cgroup"] == (whole if depth <= 16 else f"{whole}/…")
    assert len(report["levels"]) == min(depth, 16)
    assert report["levels"][-1]["cgroup"] == top.path
    assert report["limit"]["cgroup"] == top.path
    assert report["limit"]["certain"] is (depth <= 16 or report["source"] in PROBES)
    if depth <= 16:
        assert_agrees(report, kernel_log.kill_of(pid))


@pytest.mark.parametrize("length", [127, 128, 255])
def test_long_names_are_marked_as_cut(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, length: int
) -> None:
    """A name that fits is told as it is; a longer one with a mark where it was cut."""
    name = "n" * length
    pid = grow(make_cgroup("/oomtracer-test").below(name).limit(16 * MIB))
    told = agent.report_of(pid)["victim"]["cgroup"].rpartition("/")[2]
    assert told == (name if length == 127 else name[:127] + "…")


@pytest.mark.parametrize(
    ("name", "comm"),
    [
        (r"two\x0alines", "two\nlines"),
        (r"a\x22b'c\x5cd", "a\"b'c\\d"),
        (r"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        (r"\xff\xfe\x80bad", "\ufffd\ufffd\ufffdbad"),
        (r"\xe2\x80\xaegnp.exe", "\u202egnp.exe"),
        (r"123456789012345\xc3\xa9", "123456789012345"),
    ],
)
def test_hostile_names(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog, name: str, comm: str
) -> None:
    """Whatever a process calls itself, its report is one line of ASCII that says the same name."""
    pid = grow(make_cgroup("/oomtracer-test").limit(16 * MIB), "grow", 64 * MIB, name)
    report = agent.report_of(pid)
    assert report["victim"]["comm"] == comm
    assert agent.reports.all[-1].isascii()
    assert agent.reports.all[-1].isprintable()
    assert_agrees(report, kernel_log.kill_of(pid))


def test_uid_and_score_are_the_victims(
    agent: Agent, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """The report's uid and oom_score_adj are the victim's own."""
    cgroup = make_cgroup("/oomtracer-test").limit(16 * MIB)
    pid = grow(cgroup, "user", 64 * MIB, "4711")
    report = agent.report_of(pid)
    assert report["victim"]["uid"] == 4711
    assert report["victim"]["oom_score_adj"] == 321
    assert_agrees(report, kernel_log.kill_of(pid))

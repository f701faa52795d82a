from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import Group, LimitOwner, Outcome, Runtime, Scope, Workload, WorkloadKind
from oomtracer.printable import size
from oomtracer.sinks.console import Console, block, workload_name

from . import builders, strategies
from .builders import (
    CONTAINER,
    CONTAINER_ID,
    HOSTILE,
    MIB,
    POD,
    POD_UID,
    examples,
    level,
    limit,
    report,
    unfit,
)

POD_WORKLOAD = Workload(
    kind=WorkloadKind.POD,
    namespace="shop",
    pod="cart-7f9-x2",
    pod_uid=POD_UID,
    container="cart",
    container_id=CONTAINER_ID,
    runtime=Runtime.CONTAINERD,
)
MEMCG = report(
    victim=builders.victim(cgroup=CONTAINER, container_pid=1, tid=4250),
    trigger=builders.trigger(pid=99, tid=99, comm="other", cgroup=POD),
    trigger_workload=replace(POD_WORKLOAD, container=None, container_id=None),
    limit=limit(cgroup=POD, owner=LimitOwner.POD, certain=False),
    levels=(level(CONTAINER, 60 * MIB), level(POD, 64 * MIB, 64 * MIB, includes_swap=True)),
    workload=POD_WORKLOAD,
    init_died=True,
)
MEMCG_BLOCK = f"""\
2026-03-01T12:34:56.789012Z OOM kill: shop (pid 4242) in container cart of pod shop/cart-7f9-x2: \
likely the limit of its pod was hit
  victim   shop, pid 4242, thread 4250, pid 1 in its container, uid 1000, oom_score_adj 0: killed; \
pid 1 of its container
  memory   anon 60.0 MiB, file 3.0 MiB, shmem 0 B, swap 0 B, page tables 200 KiB, virtual 200 MiB
  cgroup   {CONTAINER}
  limit    64.0 MiB of 64.0 MiB used in {POD} (pod, not certain)
  trigger  other (pid 99) in pod shop/cart-7f9-x2
  levels   60.0 MiB no limit  {CONTAINER}
           64.0 MiB of 64.0 MiB, memory and swap  {POD}

"""
GLOBAL_BLOCK = """\
2026-03-01T12:34:56.789012Z OOM kill: shop (pid 4242) in unit shop.service: the node is out of memory
  victim   shop, pid 4242, uid 1000, oom_score_adj 0: killed
  memory   anon 60.0 MiB, file 3.0 MiB, shmem 0 B, swap 0 B, page tables 200 KiB, virtual 200 MiB
  cgroup   /system.slice/shop.service
  trigger  the victim itself
  levels   64.0 MiB of 64.0 MiB  /system.slice/shop.service
           300 MiB no limit  /system.slice

"""


def test_a_memory_cgroups_kill():
    """The first line answers who, where and why; the limit is named with its doubt."""
    assert block(MEMCG) == MEMCG_BLOCK


def test_a_global_kill():
    """Where the node ran out of memory there is no limit line."""
    assert block(report(scope=Scope.GLOBAL, limit=None)) == GLOBAL_BLOCK


def test_a_kill_asked_for_by_sysrq():
    """Sysrq is told as the reason, and nobody as the trigger."""
    lines = block(report(sysrq=True, scope=Scope.GLOBAL, limit=None, trigger=None, trigger_workload=None))
    assert ": asked for by sysrq\n" in lines
    assert "\n  trigger  none\n" in lines


def test_a_group_members_kill():
    """A member of a memory.oom.group tells its number and the incident it belongs to."""
    lines = block(report(group=Group(id="first", index=2), incident="first"))
    assert "\n  group    memory.oom.group: process 3 of incident first\n" in lines


def test_a_mark_is_not_told_as_a_kill():
    """A process that was exiting already was marked, not killed, in headline and detail."""
    lines = block(report(outcome=Outcome.ALREADY_EXITING)).splitlines()
    assert " OOM mark: shop " in lines[0]
    assert lines[1].endswith(": was exiting already, not killed")
    assert " OOM mark: " in block(report(outcome=Outcome.UNKNOWN))


def test_self_test_sharers_and_unknown_sizes():
    """A self-test says so, a sharer says so, and what is unknown is a question mark."""
    lines = block(
        report(selftest=True, shared_memory=True, victim=builders.victim(swap_bytes=None, cgroup=None))
    )
    assert " OOM kill [self-test]: " in lines
    assert "killed; shares the victim's memory" in lines
    assert "swap ?, " in lines
    assert "\n  cgroup   ?\n" in lines


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_costs_no_line_and_steers_no_terminal(name):
    """With any comm and cgroup there are as many lines as with plain ones, and nothing unprintable."""
    cgroup = f"/a/{name}"
    hostile = report(
        victim=builders.victim(comm=name, cgroup=cgroup),
        trigger=builders.trigger(pid=1, comm=name, cgroup=cgroup),
        limit=limit(cgroup=cgroup),
        levels=(level(cgroup), level("/a")),
        workload=Workload(kind=WorkloadKind.UNIT, unit=name),
        trigger_workload=Workload(kind=WorkloadKind.CONTAINER, container_id=name),
    )
    lines = block(hostile).splitlines()
    plain = replace(hostile, victim=builders.victim(), trigger=builders.trigger(pid=1), levels=hostile.levels)
    assert len(lines) == len(block(plain).splitlines()) == 9
    assert lines[-1] == ""
    assert not unfit("".join(lines))


@given(strategies.reports())
@examples(200)
def test_any_report_is_a_block_of_printable_lines(one):
    """The number of lines depends on what is told, never on the names in it."""
    text = block(one)
    rows = 4 + bool(one.limit) + bool(one.group) + len(one.levels)
    assert text.endswith("\n\n")
    assert len(text.splitlines()) == text.count("\n") == 1 + rows + 1
    assert unfit(text) == {"\n"}


@given(st.integers(0, 2**76))
@examples(300)
def test_sizes_read_well(value):
    """A size is a short number and a unit, right to one part in a hundred."""
    number, unit = size(value).split()
    factor = 1024 ** ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    assert abs(float(number) * factor - value) <= value / 20 + 1
    assert len(number) <= 6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (33030144, "31.5 MiB"),
        (1 << 40, "1.0 TiB"),
    ],
)
def test_size_examples(value, text):
    """Unknown is a question mark; zero is zero bytes."""
    assert size(value) == text


@pytest.mark.parametrize(
    ("workload", "name"),
    [
        (POD_WORKLOAD, "container cart of pod shop/cart-7f9-x2"),
        (
            Workload(kind=WorkloadKind.POD, pod_uid="u", container_id=CONTAINER_ID),
            "container d6701ec289c5 of pod u",
        ),
        (Workload(kind=WorkloadKind.POD, pod_uid="u"), "pod u"),
        (
            Workload(kind=WorkloadKind.CONTAINER, container_id=CONTAINER_ID, runtime=Runtime.PODMAN),
            "container d6701ec289c5 (podman)",
        ),
        (Workload(kind=WorkloadKind.UNIT, unit="a.service", slice="b.slice"), "unit a.service"),
        (Workload(kind=WorkloadKind.HOST), "the host"),
    ],
)
def test_workloads_are_named_by_their_most_specific_name(workload, name):
    """Names where they are known, the front of an id where not."""
    assert workload_name(workload) == name


def test_the_sink_writes_the_block():
    """One report, one block to the writer."""
    written = []

    class Writer:
        def write(self, data: bytes, on_written: object) -> None:
            written.append(data)

    Console(Writer()).emit(MEMCG)
    assert written == [MEMCG_BLOCK.encode()]

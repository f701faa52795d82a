"""Any report at all, for properties."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from oomtracer.events import (
    CgroupLevel,
    Group,
    Limit,
    LimitOwner,
    OomReport,
    Outcome,
    Owner,
    Runtime,
    Scope,
    Source,
    Trigger,
    Victim,
    Workload,
    WorkloadKind,
)

from .builders import BOOT_ID, TIME

# What a name from the kernel decodes to: anything but a surrogate and NUL.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=20)
CGROUPS = st.lists(NAMES, max_size=5).map(lambda names: "/" + "/".join(names))
PIDS = st.integers(0, 2**32 - 1)
BYTES = st.integers(0, 2**64 * 4096)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def workloads() -> st.SearchStrategy[Workload]:
    """Any workload."""
    names = _maybe(NAMES)
    return st.builds(
        Workload,
        kind=st.sampled_from(WorkloadKind),
        namespace=names,
        pod=names,
        pod_uid=names,
        container=names,
        container_id=names,
        runtime=_maybe(st.sampled_from(Runtime)),
        static=_maybe(st.booleans()),
        owner=_maybe(st.builds(Owner, kind=NAMES, name=NAMES)),
        unit=names,
        slice=names,
        resolved=st.booleans(),
    )


def victims() -> st.SearchStrategy[Victim]:
    """Any victim."""
    sizes = _maybe(BYTES)
    return st.builds(
        Victim,
        pid=PIDS,
        tid=PIDS,
        container_pid=_maybe(PIDS),
        comm=NAMES,
        uid=_maybe(PIDS),
        oom_score_adj=_maybe(st.integers(-1000, 1000)),
        start_time_ns=_maybe(st.integers(0, 2**64 - 1)),
        total_vm_bytes=sizes,
        anon_rss_bytes=sizes,
        file_rss_bytes=sizes,
        shmem_rss_bytes=sizes,
        swap_bytes=sizes,
        page_tables_bytes=sizes,
        cgroup=_maybe(CGROUPS),
        cmdline=_maybe(NAMES),
    )


def cgroup_levels() -> st.SearchStrategy[CgroupLevel]:
    """Any level."""
    return st.builds(
        CgroupLevel,
        cgroup=CGROUPS,
        usage_bytes=BYTES,
        limit_bytes=_maybe(BYTES),
        oom_group=st.booleans(),
        includes_swap=st.booleans(),
    )


def reports() -> st.SearchStrategy[OomReport]:
    """Any report, with names of any characters."""
    frames = NAMES.map(lambda name: "".join(name.split()).replace("+", "") + "x+0x1a") | st.just("?")
    return st.builds(
        OomReport,
        id=st.just(f"{BOOT_ID}:4242:77000000000"),
        time=st.just(TIME),
        boot_time_ns=st.integers(0, 2**64 - 1),
        node=NAMES,
        source=st.sampled_from(Source),
        outcome=st.sampled_from(Outcome),
        selftest=st.booleans(),
        scope=st.sampled_from(Scope),
        sysrq=_maybe(st.booleans()),
        victim=victims(),
        trigger=_maybe(st.builds(Trigger, pid=_maybe(PIDS), tid=PIDS, comm=NAMES, cgroup=_maybe(CGROUPS))),
        trigger_workload=_maybe(workloads()),
        limit=_maybe(
            st.builds(
                Limit,
                cgroup=CGROUPS,
                owner=st.sampled_from(LimitOwner),
                limit_bytes=_maybe(BYTES),
                usage_bytes=_maybe(BYTES),
                certain=st.booleans(),
            )
        ),
        levels=st.lists(cgroup_levels(), max_size=3).map(tuple),
        group=_maybe(st.builds(Group, id=st.just(f"{BOOT_ID}:1:2"), index=st.integers(0, 99))),
        incident=st.just(f"{BOOT_ID}:1:2"),
        order=_maybe(st.integers(-1, 11)),
        gfp_mask=_maybe(PIDS),
        kernel_stack=_maybe(st.lists(frames, max_size=3).map(tuple)),
        workload=workloads(),
        init_died=_maybe(st.booleans()),
        shared_memory=st.booleans(),
    )

"""Reports, pods and flags out of choices."""

from __future__ import annotations

from oomtracer.config import KeyValue, Marking, MarkOn, Rate
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
from oomtracer.pods import Pod
from oomtracer.policy import PREFER_NO_EVICTION
from tests.unit.builders import BOOT_ID, TIME

from .choices import Choices

KEYS = (
    *("oom-tracer.alpha.kubernetes.io/evict-me", "oomtracer/victim", "oomtracer/ignore", "", "\ud800"),
    PREFER_NO_EVICTION,
)
_KINDS = ("ReplicaSet", "Job", "DaemonSet", "Node", "")
_PHASES = ("Running", "Pending", "Succeeded", "Failed", "Unknown", "")


def report(c: Choices) -> OomReport:
    """Make any report."""
    return OomReport(
        id=f"{BOOT_ID}:{c.integer()}:{c.integer()}",
        time=TIME,
        boot_time_ns=c.integer(),
        node=c.text(),
        source=c.pick(list(Source)),
        outcome=c.pick((Outcome.KILLED, Outcome.ALREADY_EXITING, Outcome.UNKNOWN)),
        selftest=c.flag(),
        scope=c.pick(list(Scope)),
        sysrq=c.pick((False, True, None)),
        victim=_victim(c),
        trigger=c.maybe(
            lambda: Trigger(pid=c.integer(), tid=c.integer(), comm=c.text(), cgroup=c.maybe(c.cgroup))
        ),
        trigger_workload=c.maybe(lambda: _workload(c)),
        limit=c.maybe(lambda: _limit(c)),
        levels=tuple(c.several(lambda: _level(c), 4)),
        group=c.maybe(lambda: Group(id=c.text(), index=c.integer())),
        incident=c.pick(("a", "b", "")),
        order=c.maybe(c.integer),
        gfp_mask=c.maybe(c.integer),
        kernel_stack=c.maybe(lambda: tuple(c.several(lambda: c.pick(("mark_oom_victim+0x8a", "?")), 3))),
        workload=_workload(c),
        init_died=c.maybe(c.flag),
        shared_memory=c.flag(),
    )


def pod(c: Choices) -> Pod:
    """Make any pod."""
    return Pod(
        uid=c.text(),
        namespace=c.text(),
        name=c.text(),
        config_hash=c.maybe(c.text),
        is_mirror=c.flag(),
        created_s=c.number(),
        phase=c.pick(_PHASES),
        is_terminating=c.flag(),
        priority=c.integer(),
        controller=None if c.flag() else _owner(c),
        owner=c.maybe(lambda: _owner(c)),
        containers=(),
        container_ids={},
        shares_pid_namespace=c.flag(),
        annotations={c.pick(KEYS): c.text() for _ in c.several(c.flag, 2)},
        labels={c.pick(KEYS): c.text() for _ in c.several(c.flag, 2)},
    )


def marking(c: Choices) -> Marking:
    """Make any flags of marking."""
    return Marking(
        annotation=c.maybe(lambda: KeyValue(c.pick(KEYS), c.text())),
        label=c.maybe(lambda: KeyValue(c.pick(KEYS), c.text())),
        mark_on=c.pick(list(MarkOn)),
        mark_jobs=c.flag(),
        protected_namespaces=frozenset(c.several(c.text, 2)),
        opt_out_annotation=c.pick(KEYS),
        max_age_s=c.number(),
        min_pod_age_s=c.number(),
        budget=Rate(c.pick((1, 0, -1, 3)), c.number()),
        cooldown_s=c.number(),
    )


def _owner(c: Choices) -> Owner:
    return Owner(kind=c.pick(_KINDS), name=c.text())


def _level(c: Choices) -> CgroupLevel:
    return CgroupLevel(
        cgroup=c.cgroup(),
        usage_bytes=c.integer(),
        limit_bytes=c.maybe(c.integer),
        oom_group=c.flag(),
        includes_swap=c.flag(),
    )


def _limit(c: Choices) -> Limit:
    return Limit(
        cgroup=c.cgroup(),
        owner=c.pick(list(LimitOwner)),
        limit_bytes=c.integer(),
        usage_bytes=c.integer(),
        certain=c.flag(),
    )


def _victim(c: Choices) -> Victim:
    return Victim(
        pid=c.integer(),
        tid=c.integer(),
        container_pid=c.maybe(c.integer),
        comm=c.text(),
        uid=c.integer(),
        oom_score_adj=c.integer(),
        start_time_ns=c.integer(),
        total_vm_bytes=c.maybe(c.integer),
        anon_rss_bytes=c.maybe(c.integer),
        file_rss_bytes=c.maybe(c.integer),
        shmem_rss_bytes=c.maybe(c.integer),
        swap_bytes=c.maybe(c.integer),
        page_tables_bytes=c.maybe(c.integer),
        cgroup=c.maybe(c.cgroup),
        cmdline=c.maybe(c.text),
    )


def _workload(c: Choices) -> Workload:
    return Workload(
        kind=c.pick(list(WorkloadKind)),
        namespace=c.maybe(c.text),
        pod=c.maybe(c.text),
        pod_uid=c.maybe(c.text),
        container=c.maybe(c.text),
        container_id=c.maybe(c.text),
        runtime=c.maybe(lambda: c.pick(list(Runtime))),
        static=c.maybe(c.flag),
        owner=c.maybe(lambda: _owner(c)),
        unit=c.maybe(c.text),
        slice=c.maybe(c.text),
        resolved=c.flag(),
    )

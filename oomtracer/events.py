"""What oomtracer knows about an out-of-memory kill: frozen data, no I/O.

``OomKill`` is what the kernel said, decoded and uninterpreted. ``OomReport`` is what people and
machines read: the same kill with its scope, the limit that was hit and the workload it belongs to.
Sizes are bytes, times are nanoseconds of the boot clock (``CLOCK_BOOTTIME``), process ids are those of
the root pid namespace. ``None`` means unknown; 0 is always a real zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CUT = "…"
"""In a path: the rest of a name of which the record kept 127 bytes; alone, levels that are left out."""


class Source(StrEnum):
    """What told most of the kill: a hook (a function probe where it added what the kernel said), or the log."""

    TP_BTF = "tp_btf"
    TRACEPOINT = "tracepoint"
    FENTRY = "fentry"
    KPROBE = "kprobe"
    KMSG = "kmsg"
    """The kernel's log, read after the kill: the only one that leaves out what a hook always tells."""


class Outcome(StrEnum):
    """How the kill went, by the SIGKILL the kernel sent or did not send."""

    KILLED = "killed"
    ALREADY_EXITING = "already_exiting"
    UNKNOWN = "unknown"


class Scope(StrEnum):
    """Which memory ran out: the kernel's ``enum oom_constraint``, with "none" told as global."""

    GLOBAL = "global"
    MEMCG = "memcg"
    CPUSET = "cpuset"
    MEMPOLICY = "mempolicy"
    UNKNOWN = "unknown"


class LimitOwner(StrEnum):
    """What the cgroup whose limit was hit stands for."""

    CONTAINER = "container"
    POD = "pod"
    QOS = "qos"
    KUBEPODS = "kubepods"
    UNIT = "unit"
    SLICE = "slice"
    OTHER = "other"


class WorkloadKind(StrEnum):
    """The most specific thing an operator manages that a cgroup belongs to."""

    POD = "pod"
    CONTAINER = "container"
    UNIT = "unit"
    HOST = "host"


class Runtime(StrEnum):
    """The container runtime, as far as a cgroup's name tells it."""

    CONTAINERD = "containerd"
    CRIO = "cri-o"
    DOCKER = "docker"
    PODMAN = "podman"


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLevel:
    """One memory cgroup on the way from the victim's to the root, at the instant of the kill."""

    cgroup: str
    usage_bytes: int
    limit_bytes: int | None
    """``None``: no limit is set at this level."""
    oom_group: bool = False
    includes_swap: bool = False
    """cgroup v1 ``memory.memsw``: usage and limit count memory and swap together, because that
    counter was nearer to its limit than memory alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """The killed process. Sizes are those of the kernel's own ``Killed process`` line.

    Of a kill that the kernel's log alone tells, ``start_time_ns`` is unknown; ``uid`` and ``oom_score_adj``
    are where an old kernel's line has none.
    """

    pid: int
    tid: int
    container_pid: int | None
    comm: str
    uid: int | None
    oom_score_adj: int | None
    start_time_ns: int | None
    total_vm_bytes: int | None
    anon_rss_bytes: int | None
    file_rss_bytes: int | None
    shmem_rss_bytes: int | None
    swap_bytes: int | None
    page_tables_bytes: int | None
    cgroup: str | None
    """Path in the hierarchy of the memory controller, as the kernel log's ``task_memcg=``. A name that
    was longer than the record's field, or the levels left out next to the leaf of a path too deep,
    are told as ``…``."""
    cmdline: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The task whose allocation ran into the limit; often not the victim.

    ``pid`` is unknown where the kernel's log, which tells the thread, does not say whose thread it is.
    """

    pid: int | None
    tid: int
    comm: str
    cgroup: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKill:
    """One record of the BPF program, decoded. ``seq`` counts records attempted, so a gap is a loss."""

    seq: int
    boot_time_ns: int
    source: Source
    outcome: Outcome
    shared_memory: bool
    """Killed because it shares the victim's memory: no mark, and not in the kernel's own count."""
    victim: Victim
    pid_namespace_level: int | None
    """0: the root pid namespace."""
    unified_cgroup: str | None
    """The victim's cgroup v2 path where the memory controller is elsewhere (v1) or higher up."""
    trigger: Trigger
    levels: tuple[CgroupLevel, ...]
    """Leaf first, without the root, which has neither a limit nor a usage of its own."""
    levels_complete: bool
    """False where the path was deeper than the record: the levels next to the leaf are missing."""
    stack: tuple[int, ...]
    """Return addresses, innermost first. Never printed: symbolise them."""
    limit_level: int | None = None
    """Index into ``levels`` of the cgroup whose limit was hit, where the kernel said so."""
    constraint: int | None = None
    """The kernel's ``enum oom_constraint``. With it, and no ``limit_level``, no level's limit was hit."""
    order: int | None = None
    gfp_mask: int | None = None
    total_pages: int | None = None
    chosen_points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The controller of a pod (a ReplicaSet is told as its Deployment where that is known)."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Whose process it was.

    ``resolved`` is False where a pod's name is still to be found, and where
    the cgroup path could not be read at all (kind ``host``).
    """

    kind: WorkloadKind
    namespace: str | None = None
    pod: str | None = None
    pod_uid: str | None = None
    """As the cgroup says it, dashes restored; 32 hex digits for a static pod (its config hash)."""
    container: str | None = None
    container_id: str | None = None
    runtime: Runtime | None = None
    static: bool | None = None
    owner: Owner | None = None
    unit: str | None = None
    slice: str | None = None
    resolved: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The cgroup whose limit was hit; ``certain`` is False where several could have been.

    Its size and usage are unknown where the kernel's log does not tell them.
    """

    cgroup: str
    owner: LimitOwner
    limit_bytes: int | None
    usage_bytes: int | None
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Membership in a ``memory.oom.group`` kill; ``index`` 0 is the process the kernel chose."""

    id: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OomReport:
    """One killed process, attributed. ``id`` is the natural key: boot, process, its start time.

    Of a kill from the kernel's log, which knows no start time, it is boot, process and ``log-`` with the
    microseconds of the log's clock.
    """

    id: str
    time: str
    boot_time_ns: int
    node: str
    source: Source
    outcome: Outcome
    selftest: bool
    scope: Scope
    sysrq: bool | None
    victim: Victim
    trigger: Trigger | None
    trigger_workload: Workload | None
    limit: Limit | None
    levels: tuple[CgroupLevel, ...]
    group: Group | None
    incident: str
    order: int | None
    gfp_mask: int | None
    kernel_stack: tuple[str, ...] | None
    workload: Workload
    init_died: bool | None
    shared_memory: bool

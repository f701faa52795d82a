"""What each choice of hooks cannot know: all else in a report is the same, whichever hooks made it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from oomtracer.tracer import HOOKS
from tests.kernel.agent import run_oomtracer, with_mounts

if TYPE_CHECKING:
    from tests.kernel.agent import Report

# By hook; by group for "no hook of this group", which `--disable-hook` can make of every group but the victim's.
# Besides, without the group context a limit may be less certain, and scope unknown on several memory nodes; the
# kills compared here are at one limit, where both are known.
CANNOT_KNOW: dict[str, frozenset[str]] = {
    "tp_btf/mark_victim": frozenset(),
    "tp_btf/mark_victim_pid": frozenset(),
    "tracepoint/oom/mark_victim": frozenset(),
    "tp_btf/signal_generate": frozenset(),
    "fentry/out_of_memory": frozenset(),
    "kprobe/out_of_memory": frozenset(),
    "no truth": frozenset({"outcome"}),
    "no context": frozenset({"order", "gfp_mask"}),
}
# How what cannot be known is told, where that is not null.
UNKNOWN = {"outcome": "unknown"}
# What `source` says of a kill, by the hook that told most of it: context before victim.
SOURCES = {hook.name: hook.name.partition("/")[0] for hook in HOOKS}
# The sources of reports in which the kernel's own word stands.
PROBES = frozenset({"fentry", "kprobe"})
# Numbers of the process, of the moment, or of how full a cgroup was just then.
OF_THE_PROCESS = frozenset(
    {
        *("id", "time", "boot_time_ns", "incident", "group.id", "trigger.pid"),
        *(f"victim.{key}" for key in ("pid", "tid", "container_pid", "start_time_ns")),
        *(f"victim.{key}_bytes" for key in ("total_vm", "anon_rss", "file_rss", "shmem_rss", "swap")),
        *("victim.page_tables_bytes", "limit.usage_bytes", "levels[].usage_bytes", "kernel_stack"),
    }
)
# The classic tracepoint needs tracefs, which is not mounted everywhere.
TRACEFS = with_mounts(
    "{ test -e /sys/kernel/tracing/events || mount -t tracefs none /sys/kernel/tracing; } 2>/dev/null"
)


@dataclass(frozen=True)
class Variant:
    """One choice of hooks, forced by switching others off; ``hook`` must be in use where the kernel has it."""

    name: str
    disabled: frozenset[str]
    hook: str | None = None

    @property
    def flags(self) -> list[str]:
        """For ``run`` and ``check``."""
        return [f"--disable-hook={name}" for name in sorted(self.disabled)]

    def hooks(self) -> dict[str, dict[str, Any]]:
        """Every hook as ``check`` tells it with this choice; none is used where nothing can be traced so."""
        told = json.loads(run_oomtracer("check", "--output", "json", *self.flags, prefix=TRACEFS).stdout)
        return {hook["name"]: hook for hook in told["hooks"]}


def _group(name: str) -> frozenset[str]:
    return frozenset(hook.name for hook in HOOKS if hook.group == name)


DEFAULT = Variant("default", frozenset())
# The last two find a task by its pid without the help of the signal.
VARIANTS = (
    *(Variant(hook.name, _group(hook.group) - {hook.name}, hook.name) for hook in HOOKS),
    *(Variant(f"no {group}", _group(group)) for group in ("truth", "context")),
    *(
        Variant(f"{name}, no truth", _group("truth") | _group("victim") - {name}, name)
        for name in ("tp_btf/mark_victim_pid", "tracepoint/oom/mark_victim")
    ),
)


@cache
def default_source() -> str:
    """What ``source`` says with the hooks that are used by default, without tracefs mounted for it."""
    told = json.loads(run_oomtracer("check", "--output", "json").stdout)
    return source_with({hook["name"] for hook in told["hooks"] if hook["used"]})


def unknown_with(used: set[str]) -> frozenset[str]:
    """The fields that cannot be known with these hooks."""
    parts = set(used) | {f"no {group}" for group in ("truth", "context") if not _group(group) & used}
    return frozenset().union(*(CANNOT_KNOW[part] for part in parts))


def source_with(used: set[str]) -> str:
    """What ``source`` must say."""
    [teller] = used & _group("context") or used & _group("victim")
    return SOURCES[teller]


def comparable(report: Report) -> dict[str, Any]:
    """A report as it must be for any process killed in the same way, by path of the key."""
    flat = {key: value for key, value in _flat(report) if key not in OF_THE_PROCESS}
    names = [frame.partition("+")[0].partition(".")[0] for frame in report["kernel_stack"]]
    return flat | {
        "is leader": report["victim"]["pid"] == report["victim"]["tid"],
        "is first": report["id"] == report["incident"],
        "is trigger": report["victim"]["pid"] == report["trigger"]["pid"],
        "stack": names[: names.index("out_of_memory") + 1],
    }


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        dot = "." if path else ""
        return [pair for key, each in value.items() for pair in _flat(each, f"{path}{dot}{key}")]
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        pairs = [pair for each in value for pair in _flat(each, f"{path}[]")]
        return [
            (f"{key}#{i}" if key not in OF_THE_PROCESS else key, each) for i, (key, each) in enumerate(pairs)
        ]
    return [(path, value)]

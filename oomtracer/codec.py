"""Record bytes to ``OomKill``. The layout is that of ``bpf/headers/oom_event.h``, by way of cffi."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oomtracer._native import ffi, lib
from oomtracer.events import CUT, CgroupLevel, OomKill, Outcome, Source, Trigger, Victim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oomtracer._native import CData

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# The kernel's "no limit" is LONG_MAX in whole pages.
_NO_LIMIT_PAGES = (2**63 - 1) // PAGE_BYTES

_EVENT_BYTES = ffi.sizeof("struct oom_event")
_WIDE_BYTES = ffi.sizeof("struct oom_event_wide")
_HEADER_BYTES = ffi.offsetof("struct oom_event", "fields")
_SOURCES = {
    lib.OOM_HOOK_TP_BTF: Source.TP_BTF,
    lib.OOM_HOOK_TRACEPOINT: Source.TRACEPOINT,
    lib.OOM_HOOK_FENTRY: Source.FENTRY,
    lib.OOM_HOOK_KPROBE: Source.KPROBE,
}
_OUTCOMES = {
    lib.OOM_OUTCOME_UNKNOWN: Outcome.UNKNOWN,
    lib.OOM_OUTCOME_KILLED: Outcome.KILLED,
    lib.OOM_OUTCOME_MARKED: Outcome.ALREADY_EXITING,
    lib.OOM_OUTCOME_SHARED: Outcome.KILLED,
}


class RecordError(ValueError):
    """A record that this build does not understand: to be counted and dropped, never guessed at."""


def decode(record: bytes) -> OomKill:
    """Decode one record of the ring. Raises RecordError for an unknown type, version, length or value."""
    event = _checked(record)
    fields = event.fields
    paths = ffi.cast("struct oom_path *", ffi.addressof(event) + 1) if event.paths_offset else None
    levels = _levels(event) if fields & lib.OOM_FIELD_LEVELS else ()
    unified = _path(paths[lib.OOM_PATH_UNIFIED]) if paths and fields & lib.OOM_FIELD_UNIFIED_PATH else None
    cgroup = _victim_cgroup(event, levels) if fields & lib.OOM_FIELD_LEVELS else unified
    context = bool(fields & lib.OOM_FIELD_CONTEXT)
    return OomKill(
        seq=event.seq,
        boot_time_ns=event.boot_time_ns,
        source=_SOURCES[event.hook],
        outcome=_OUTCOMES[event.outcome],
        shared_memory=event.outcome == lib.OOM_OUTCOME_SHARED,
        victim=_victim(event, cgroup),
        pid_namespace_level=event.victim_pid_ns_level if fields & lib.OOM_FIELD_CONTAINER_PID else None,
        unified_cgroup=unified,
        trigger=_trigger(event, paths, cgroup),
        levels=levels,
        levels_complete=event.levels_skipped == 0,
        stack=tuple(ffi.unpack(event.stack, event.stack_depth)) if fields & lib.OOM_FIELD_STACK else (),
        limit_level=event.limit_level if fields & lib.OOM_FIELD_LIMIT_LEVEL else None,
        constraint=event.oom_constraint if fields & lib.OOM_FIELD_CONSTRAINT else None,
        order=event.oom_order if context else None,
        gfp_mask=event.oom_gfp_mask if context else None,
        total_pages=event.oom_total_pages if fields & lib.OOM_FIELD_TOTAL_PAGES else None,
        chosen_points=event.oom_chosen_points if fields & lib.OOM_FIELD_CHOSEN_POINTS else None,
    )


def _checked(record: bytes) -> CData:
    if len(record) < _HEADER_BYTES:
        raise RecordError(f"record of {len(record)} bytes is shorter than its header")
    # The header is in every version; what lies beyond is read only when the length is known to be right.
    padded = record if len(record) >= _EVENT_BYTES else record.ljust(_EVENT_BYTES, b"\0")
    event = ffi.from_buffer("struct oom_event *", padded)[0]
    if event.type != lib.OOM_EVENT_KILL or event.version != lib.OOM_EVENT_VERSION:
        raise RecordError(f"record of unknown type {event.type}, version {event.version}")
    expected = _WIDE_BYTES if event.paths_offset else _EVENT_BYTES
    if len(record) != expected or event.size != expected or event.paths_offset not in (0, _EVENT_BYTES):
        raise RecordError(f"record of {len(record)} bytes, not {expected}")
    if event.hook not in _SOURCES or event.outcome not in _OUTCOMES:
        raise RecordError(f"record of unknown hook {event.hook}, outcome {event.outcome}")
    if event.levels > lib.OOM_LEVELS_MAX or event.stack_depth > lib.OOM_STACK_MAX:
        raise RecordError(f"record with {event.levels} levels and {event.stack_depth} stack frames")
    levels = event.levels if event.fields & lib.OOM_FIELD_LEVELS else 0
    if event.fields & lib.OOM_FIELD_LIMIT_LEVEL and event.limit_level >= levels:
        raise RecordError(f"record whose limit is level {event.limit_level} of {levels}")
    return event


def _text(field: CData) -> str:
    return ffi.string(field).decode("utf-8", "replace")


def _names(fields: CData, count: int, cut: int) -> list[str]:
    """Directory names, leaf first."""
    return [_text(fields[i]) + (CUT if cut >> i & 1 else "") for i in range(count)]


def _join(names: Sequence[str]) -> str:
    return "/" + "/".join(reversed(names))


def _levels(event: CData) -> tuple[CgroupLevel, ...]:
    names = _names(event.level_name, event.levels, event.levels_cut)
    # Of a list, here and wherever a kill passes: a tuple of a generator is cut to size after it was made, and
    # CPython 3.11 then keeps it for tuples of its first size; some 1,000 kills later that is 100s of KiB.
    return tuple([_level(event, i, _join(names[i:])) for i in range(event.levels)])


def _level(event: CData, i: int, cgroup: str) -> CgroupLevel:
    limit = event.level_limit_pages[i]
    return CgroupLevel(
        cgroup=cgroup,
        usage_bytes=event.level_usage_pages[i] * PAGE_BYTES,
        limit_bytes=None if limit >= _NO_LIMIT_PAGES else limit * PAGE_BYTES,
        oom_group=bool(event.levels_oom_group >> i & 1),
        includes_swap=bool(event.levels_memsw >> i & 1),
    )


def _victim_cgroup(event: CData, levels: tuple[CgroupLevel, ...]) -> str:
    path = levels[0].cgroup if levels else ""
    return f"{path}/{CUT}" if event.levels_skipped else path or "/"


def _path(path: CData) -> str:
    if path.levels > lib.OOM_LEVELS_MAX:
        raise RecordError(f"path with {path.levels} levels")
    names = _names(path.name, path.levels, path.cut)
    return _join([CUT, *names] if path.skipped else names)


def _trigger_cgroup(event: CData, paths: CData | None, victim_cgroup: str | None) -> str | None:
    if event.fields & lib.OOM_FIELD_TRIGGER_SAME:
        return victim_cgroup
    if event.fields & lib.OOM_FIELD_TRIGGER_PATH and paths:
        return _path(paths[lib.OOM_PATH_TRIGGER])
    return "/" if event.fields & lib.OOM_FIELD_TRIGGER_ROOT else None


def _trigger(event: CData, paths: CData | None, victim_cgroup: str | None) -> Trigger:
    return Trigger(
        pid=event.trigger_tgid,
        tid=event.trigger_tid,
        comm=_text(event.trigger_comm),
        cgroup=_trigger_cgroup(event, paths, victim_cgroup),
    )


def _victim(event: CData, cgroup: str | None) -> Victim:
    memory = bool(event.fields & lib.OOM_FIELD_MEMORY)

    def pages(count: int) -> int | None:
        return count * PAGE_BYTES if memory else None

    return Victim(
        pid=event.victim_tgid,
        tid=event.victim_tid,
        container_pid=event.victim_container_pid if event.fields & lib.OOM_FIELD_CONTAINER_PID else None,
        comm=_text(event.victim_comm),
        uid=event.victim_uid,
        oom_score_adj=event.victim_oom_score_adj,
        start_time_ns=event.victim_start_time_ns,
        total_vm_bytes=pages(event.victim_total_vm_pages),
        anon_rss_bytes=pages(event.victim_anon_rss_pages),
        file_rss_bytes=pages(event.victim_file_rss_pages),
        shmem_rss_bytes=pages(event.victim_shmem_rss_pages),
        swap_bytes=pages(event.victim_swap_pages),
        page_tables_bytes=event.victim_page_tables_bytes if memory else None,
        cgroup=cgroup,
    )

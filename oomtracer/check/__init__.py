"""``oomtracer check``: what this machine supports, what is missing, and one sentence what to do."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from oomtracer import __version__
from oomtracer.check import journal, pins
from oomtracer.check.rows import Row, Status
from oomtracer.errors import OomTracerError
from oomtracer.kernel import facts
from oomtracer.kernel.privileges import (
    Capability,
    effective_capabilities,
    may_lock_memory,
    memory_lock_limit_bytes,
)
from oomtracer.kernel.symbols import KernelSymbols
from oomtracer.libbpf import Btf, libbpf_version
from oomtracer.tracer import SWITCHED_OFF, RunningKernel, Tracer, choose_hooks, record_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oomtracer.tracer import GroupChoice

_KIB = 1024


@dataclass(frozen=True, slots=True)
class HookRow:
    """A hook of the table. ``reason``: why it cannot be used; empty where it is used, or would be next."""

    name: str
    group: str
    used: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """All rows; tracing works unless one is ``missing``."""

    rows: tuple[Row, ...]
    hooks: tuple[HookRow, ...] = ()
    pins: pins.PinState | None = None

    @property
    def can_trace(self) -> bool:
        """Whether ``oomtracer run`` works here."""
        return all(row.status is not Status.MISSING for row in self.rows)


def check(
    *,
    ring_size_bytes: int,
    disabled_hooks: frozenset[str] = frozenset(),
    pin_path: Path | None = None,
    state_directory: Path | None = None,
) -> CheckResult:
    """Ask the system, and load and attach for real for a moment. Changes nothing, never raises."""
    tracer = Tracer(ring_size_bytes=ring_size_bytes, disabled_hooks=disabled_hooks)
    load, choices = _load(tracer), tracer.choices
    pinned = pins.pin_state(pin_path, _build(tracer)) if pin_path else None
    known = choices or _choices_by_btf(disabled_hooks)
    hooks = () if isinstance(known, OomTracerError) else _hooks(known, loaded=load.status is Status.OK)
    rows = (
        *_rows(load, known, ring_size_bytes),
        *pins.rows(
            pinned,
            tracer.unpinned if load.status is Status.OK else None,
            kills=ring_size_bytes // record_bytes(),
        ),
        *journal.rows(state_directory),
    )
    return CheckResult(rows, hooks, pinned)


def _rows(
    load: Row, choices: tuple[GroupChoice, ...] | OomTracerError, ring_size_bytes: int
) -> Iterator[Row]:
    yield Row("oomtracer", Status.OK, f"{__version__}, libbpf {libbpf_version()}")
    yield Row("kernel", Status.OK, f"Linux {platform.release()}, {platform.machine()}")
    yield from _btf_and_hooks(choices, loaded=load.status is Status.OK)
    yield _capabilities()
    yield _lockdown()
    yield load
    yield _symbols()
    yield _cgroups()
    yield _audit()
    yield Row("ring", Status.OK, _ring(ring_size_bytes))
    yield _memory_lock()


def _load(tracer: Tracer) -> Row:
    """How loading went; ``choices`` tells what became of each hook: of none where it did not get so far."""
    try:
        with tracer:
            return Row("load", Status.OK, "the programs load and attach")
    except OomTracerError as error:
        return Row("load", Status.MISSING, error.message, error.hint)


def _build(tracer: Tracer) -> bytes:
    try:
        return tracer.build()
    except OomTracerError:  # the load has told why
        return b""


def _choices_by_btf(disabled_hooks: frozenset[str]) -> tuple[GroupChoice, ...] | OomTracerError:
    try:
        with Btf.of_kernel() as btf:
            return choose_hooks(RunningKernel(btf), disabled=disabled_hooks)
    except OomTracerError as error:
        return error


def _btf_and_hooks(choices: tuple[GroupChoice, ...] | OomTracerError, *, loaded: bool) -> Iterator[Row]:
    if isinstance(choices, OomTracerError):
        yield Row("BTF", Status.MISSING, choices.message, choices.hint)
        return
    yield Row("BTF", Status.OK, "/sys/kernel/btf/vmlinux")
    for choice in choices:
        yield _group(choice, loaded=loaded)


def _group(choice: GroupChoice, *, loaded: bool) -> Row:
    subject = f"hook: {choice.group}"
    if choice.hook:
        others = f" ({choice.reason})" if choice.reason else ""
        tried = "" if loaded else ", not tried"
        return Row(subject, Status.OK, f"{choice.hook.name}{tried}: {choice.hook.adds}{others}")
    if choice.required:
        switched_off = any(each.reason == SWITCHED_OFF for each in choice.candidates)
        hint = (
            "leave out --disable-hook"
            if switched_off
            else "use a kernel from the support table in the README"
        )
        return Row(subject, Status.MISSING, choice.reason, hint)
    hint = "kills are told all the same; README, How it works, tells what reports say less without this group"
    return Row(subject, Status.REDUCED, choice.reason, hint)


def _hooks(choices: tuple[GroupChoice, ...], *, loaded: bool) -> tuple[HookRow, ...]:
    return tuple(
        HookRow(
            each.hook.name,
            choice.group,
            loaded and each.hook is choice.hook,
            each.reason or ("" if loaded else "not tried"),
        )
        for choice in choices
        for each in choice.candidates
    )


def _capabilities() -> Row:
    try:
        have = effective_capabilities()
    except OomTracerError as error:
        return Row("capabilities", Status.MISSING, error.message, error.hint)
    names = ", ".join(f"CAP_{capability.name}" for capability in Capability if capability in have) or "none"
    missing = [f"CAP_{each.name}" for each in (Capability.BPF, Capability.PERFMON) if each not in have]
    if missing:
        found = f"no {' and '.join(missing)}; there: {names}"
        return Row("capabilities", Status.MISSING, found, "run as root, or grant CAP_BPF and CAP_PERFMON")
    return Row("capabilities", Status.OK, names)


def _lockdown() -> Row:
    mode = facts.lockdown()
    if mode == "confidentiality":
        hint = "this mode may forbid reading kernel memory: boot with lockdown=integrity if loading fails"
        return Row("lockdown", Status.REDUCED, mode, hint)
    return Row("lockdown", Status.OK, mode or "not built into this kernel, or not readable")


def _symbols() -> Row:
    count = len(KernelSymbols.load())
    if count:
        return Row("kernel symbols", Status.OK, f"{count} functions")
    return Row(
        "kernel symbols",
        Status.REDUCED,
        "addresses in /proc/kallsyms are hidden: scope and kernel stack stay unknown",
        "grant CAP_SYSLOG (kernel.kptr_restrict=2 hides them even then)",
    )


def _cgroups() -> Row:
    try:
        path, version = facts.memory_cgroup_mount()
    except OomTracerError as error:
        return Row("cgroups", Status.REDUCED, error.message, error.hint)
    if version == "none":
        return Row("cgroups", Status.OK, "no memory controller is mounted here; paths come from the kernel")
    found = {"hybrid": "v1 memory controller, v2 beside it"}.get(version, version)
    return Row("cgroups", Status.OK, f"{found}, at {path}")


def _audit() -> Row:
    kills = facts.oom_kills_since_boot()
    if kills is None:
        return Row(
            "kernel's count", Status.REDUCED, "/proc/vmstat has no oom_kill", "use Linux 4.13 or later"
        )
    return Row("kernel's count", Status.OK, f"{kills} kills since boot")


def _ring(ring_size_bytes: int) -> str:
    kills = ring_size_bytes // record_bytes()
    return f"{ring_size_bytes // _KIB} KiB: holds {kills} kills with nobody reading"


def _memory_lock() -> Row:
    limit = memory_lock_limit_bytes()
    told = "unlimited" if limit is None else f"{limit // _KIB} KiB"
    try:
        score = facts.read_proc("self/oom_score_adj").strip()
        possible = may_lock_memory(effective_capabilities())
    except OomTracerError as error:
        return Row("memory lock", Status.REDUCED, error.message, error.hint)
    if possible:
        return Row("memory lock", Status.OK, f"possible (RLIMIT_MEMLOCK {told}), oom_score_adj {score}")
    hint = "LimitMEMLOCK=infinity or CAP_IPC_LOCK keeps the agent in memory under pressure"
    return Row("memory lock", Status.REDUCED, f"RLIMIT_MEMLOCK {told}, no CAP_IPC_LOCK", hint)


def as_json(result: CheckResult) -> str:
    """One JSON object, one line."""
    rows, hooks = ([asdict(row) for row in table] for table in (result.rows, result.hooks))
    told = {"can_trace": result.can_trace, "checks": rows, "hooks": hooks, "pin_path": None}
    if result.pins:
        pinned = [asdict(each) for each in result.pins.pinned]
        fault = result.pins.fault.message if result.pins.fault else ""
        told["pin_path"] = {
            "path": str(result.pins.path),
            "fault": fault,
            "held_by": result.pins.held_by,
            "pinned": pinned,
        }
    return json.dumps(told) + "\n"


def as_text(result: CheckResult) -> str:
    """A table, and behind it one line that says whether tracing works."""
    width = max(len(row.subject) for row in result.rows)
    lines = []
    for row in result.rows:
        lines.append(f"{row.subject:<{width}}  {row.status:<7}  {row.found}")
        if row.status is not Status.OK and row.hint:
            lines.append(f"{'':<{width}}  {'':<7}  hint: {row.hint}")
    verdict = "OOM kills can be traced here" if result.can_trace else "OOM kills cannot be traced here"
    return "\n".join((*lines, "", verdict, ""))

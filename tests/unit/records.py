"""Raw records, written through the struct that the extension was compiled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from hypothesis import strategies as st

from oomtracer._native import ffi, lib  # noqa: TID251 - tests write what the kernel would

Fields = IntFlag(
    "Fields",
    {
        name.removeprefix("OOM_FIELD_"): getattr(lib, name)
        for name in dir(lib)
        if name.startswith("OOM_FIELD_")
    },
)
EVENT_BYTES = ffi.sizeof("struct oom_event")
WIDE_BYTES = ffi.sizeof("struct oom_event_wide")
HEADER_BYTES = ffi.offsetof("struct oom_event", "seq")
LEVELS_MAX, STACK_MAX, NAME_SIZE = lib.OOM_LEVELS_MAX, lib.OOM_STACK_MAX, lib.OOM_NAME_SIZE
COMM_SIZE = lib.OOM_COMM_SIZE
KILL, VERSION, TP_BTF = lib.OOM_EVENT_KILL, lib.OOM_EVENT_VERSION, lib.OOM_HOOK_TP_BTF
HOOKS = tuple(getattr(lib, name) for name in dir(lib) if name.startswith("OOM_HOOK_"))
UNKNOWN, KILLED = lib.OOM_OUTCOME_UNKNOWN, lib.OOM_OUTCOME_KILLED
MARKED, SHARED = lib.OOM_OUTCOME_MARKED, lib.OOM_OUTCOME_SHARED
UNIFIED, TRIGGER = lib.OOM_PATH_UNIFIED, lib.OOM_PATH_TRIGGER

MEMBERS = {name: field.type for name, field in ffi.typeof("struct oom_event").fields}
HEADER = ("type", "version", "size", "paths_offset", "fields", "hook", "outcome")
NO_LIMIT_PAGES = (2**63 - 1) // 4096


@dataclass(frozen=True)
class Level:
    """One cgroup of the victim's path, as the kernel counts: in pages."""

    name: bytes
    usage: int = 0
    limit: int = NO_LIMIT_PAGES
    cut: bool = False
    oom_group: bool = False
    memsw: bool = False


@dataclass(frozen=True)
class Path:
    """A further path of a wide record, leaf first."""

    names: Sequence[bytes]
    skipped: int = 0
    cut: int = 0


def record(
    *,
    victim_levels: Sequence[Level] = (),
    stack: Sequence[int] = (),
    paths: Mapping[int, Path] | None = None,
    **values: Any,
) -> bytes:
    """Build a valid record, unless ``values`` says otherwise for a member."""
    wide = ffi.new("struct oom_event_wide *")
    event = wide.event
    event.type, event.version, event.hook, event.outcome = KILL, VERSION, TP_BTF, KILLED
    event.size = EVENT_BYTES if paths is None else WIDE_BYTES
    event.paths_offset = 0 if paths is None else EVENT_BYTES
    event.seq = 1
    event.fields = _implied_fields(victim_levels, stack, paths or {})
    _fill_levels(event, victim_levels)
    event.stack_depth = len(stack)
    event.stack[0 : len(stack)] = list(stack)
    for index, path in (paths or {}).items():
        _fill_path(wide.paths[index], path)
    for name, value in values.items():
        setattr(event, name, value)
    return bytes(ffi.buffer(wide, EVENT_BYTES if paths is None else WIDE_BYTES))


def _implied_fields(levels: Sequence[Level], stack: Sequence[int], paths: Mapping[int, Path]) -> Fields:
    return (
        (Fields.LEVELS if levels else Fields(0))
        | (Fields.STACK if stack else Fields(0))
        | (Fields.UNIFIED_PATH if UNIFIED in paths else Fields(0))
        | (Fields.TRIGGER_PATH if TRIGGER in paths else Fields(0))
    )


def _fill_levels(event: Any, levels: Sequence[Level]) -> None:
    event.levels = len(levels)
    for i, level in enumerate(levels):
        event.level_name[i] = level.name
        event.level_usage_pages[i], event.level_limit_pages[i] = level.usage, level.limit
        event.levels_cut |= level.cut << i
        event.levels_oom_group |= level.oom_group << i
        event.levels_memsw |= level.memsw << i


def _fill_path(target: Any, path: Path) -> None:
    target.levels, target.skipped, target.cut = len(path.names), path.skipped, path.cut
    for i, name in enumerate(path.names):
        target.name[i] = name


def decoded(name: bytes, *, cut: bool = False) -> str:
    """Say what a reader must make of a kernel string."""
    return name.decode("utf-8", "replace") + ("…" if cut else "")


def text(size: int) -> st.SearchStrategy[bytes]:
    """Bytes that fit a char array of ``size`` with their NUL; often not UTF-8."""
    fits = st.binary(min_size=1, max_size=size - 1) | st.text(min_size=1, max_size=size - 1).map(str.encode)
    return fits.map(lambda name: name.replace(b"\0", b"\n")[: size - 1])


def scalars() -> st.SearchStrategy[dict[str, int]]:
    """Any value for every integer member that is not part of the header or a count."""
    counts = {"levels", "levels_cut", "levels_oom_group", "levels_memsw", "stack_depth", "limit_level"}
    wanted = {
        name: _integers(kind)
        for name, kind in MEMBERS.items()
        if kind.kind == "primitive" and name not in counts and name not in HEADER
    }
    return st.fixed_dictionaries(wanted)


def _integers(kind: Any) -> st.SearchStrategy[int]:
    bits = 8 * ffi.sizeof(kind)
    signed = int(ffi.cast(kind, -1)) < 0
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def levels(max_size: int = LEVELS_MAX) -> st.SearchStrategy[list[Level]]:
    """Paths of any depth, with any name, usage and limit."""
    pages = st.integers(0, 2**64 - 1) | st.sampled_from([0, NO_LIMIT_PAGES - 1, NO_LIMIT_PAGES])
    names = text(NAME_SIZE)
    one = st.builds(Level, names, pages, pages, st.booleans(), st.booleans(), st.booleans())
    return st.lists(one, max_size=max_size)


def path() -> st.SearchStrategy[Path]:
    """A further path."""
    names = st.lists(text(NAME_SIZE), max_size=LEVELS_MAX)
    return st.builds(Path, names, st.integers(0, 3), st.integers(0, 2**32 - 1))


@st.composite
def valid(draw: st.DrawFn) -> bytes:
    """Any record that the BPF program could write, and many that it would not."""
    chosen = draw(levels(4))
    paths = draw(st.none() | st.dictionaries(st.sampled_from([UNIFIED, TRIGGER]), path()))
    fields = Fields(draw(st.integers(0, 2**32 - 1)) & ~Fields.LIMIT_LEVEL)
    if chosen and draw(st.booleans()):
        fields |= Fields.LIMIT_LEVEL | Fields.LEVELS
    return record(
        victim_levels=chosen,
        stack=draw(st.lists(st.integers(0, 2**64 - 1), max_size=STACK_MAX)),
        paths=paths,
        **draw(scalars()),
        hook=draw(st.sampled_from(HOOKS)),
        outcome=draw(st.sampled_from([UNKNOWN, KILLED, MARKED, SHARED])),
        fields=fields,
        limit_level=draw(st.integers(0, len(chosen) - 1)) if chosen else 0,
        victim_comm=draw(text(COMM_SIZE)),
        trigger_comm=draw(text(COMM_SIZE)),
    )

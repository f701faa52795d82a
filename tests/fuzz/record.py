"""Records of the ring: ``oomtracer.codec``."""

from __future__ import annotations

from dataclasses import fields
from random import Random

from oomtracer._native import ffi  # noqa: TID251 - tests write what the kernel would
from oomtracer.codec import RecordError, decode
from oomtracer.events import CUT, OomKill
from tests.unit import records
from tests.unit.records import EVENT_BYTES, HEADER_BYTES, WIDE_BYTES, Fields, Level, Path

from .mutate import mutated, noise

_NAMES = (
    b"a",
    b"system.slice",
    b"x" * 127,
    b"\xff\xfe",
    b"\xc3",
    "é".encode(),
    b"a\nb",
    b"",
    b"..",
    b"\x1b[2J",
)
_EDGES = (0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, records.NO_LIMIT_PAGES, records.NO_LIMIT_PAGES - 1)
_SCALARS = {
    name: 8 * ffi.sizeof(kind) - (int(ffi.cast(kind, -1)) < 0)
    for name, kind in records.MEMBERS.items()
    if kind.kind == "primitive" and name not in records.HEADER
}
_COUNTS = frozenset(
    {
        "levels",
        "levels_cut",
        "levels_oom_group",
        "levels_memsw",
        "stack_depth",
        "limit_level",
        "levels_skipped",
    }
)
# Members that mean nothing without their bit.
_OPTIONAL = {
    Fields.MEMORY: (
        *(
            "victim_total_vm_pages",
            "victim_anon_rss_pages",
            "victim_file_rss_pages",
            "victim_shmem_rss_pages",
        ),
        *("victim_swap_pages", "victim_page_tables_bytes"),
    ),
    Fields.CONTAINER_PID: ("victim_container_pid", "victim_pid_ns_level"),
    Fields.CONTEXT: ("oom_order", "oom_gfp_mask"),
    Fields.LIMIT_LEVEL: ("limit_level",),
    Fields.CONSTRAINT: ("oom_constraint",),
    Fields.TOTAL_PAGES: ("oom_total_pages",),
    Fields.CHOSEN_POINTS: ("oom_chosen_points",),
    Fields.STACK: ("stack",),
    Fields.LEVELS: ("level_name", "level_usage_pages", "level_limit_pages", "levels_cut", "levels_oom_group"),
}
_TOP_LEVELS = records.LEVELS_MAX + 1


def generate(random: Random) -> bytes:
    """Make a record that is valid, damaged, true in its header alone, or noise."""
    chance = random.random()
    if chance < 0.05:
        return noise(random, WIDE_BYTES + 9)
    valid = _valid(random)
    if chance < 0.4:
        return valid
    if chance < 0.6:
        return valid[:HEADER_BYTES] + random.randbytes(len(valid) - HEADER_BYTES)
    return mutated(random, valid)


def check(data: bytes) -> None:
    """A kill or RecordError; the same whatever lies behind it, and whatever it does not claim to know."""
    kill = _decoded(data)
    if len(data) >= EVENT_BYTES:
        assert _decoded(memoryview(data + b"\xaa" * (WIDE_BYTES + 9))[: len(data)]) == kill
    if kill is None:
        return
    assert len(data) in (EVENT_BYTES, WIDE_BYTES)
    _check_bounds(kill)
    assert _decoded(_scribbled(data)) == kill


def _decoded(data: bytes | memoryview) -> OomKill | None:
    try:
        return decode(data)
    except RecordError as error:
        _check_message(str(error))
        return None


def _check_message(text: str) -> None:
    assert text.isascii()
    assert text.isprintable()


def _check_bounds(kill: OomKill) -> None:
    assert kill.limit_level is None or kill.limit_level < len(kill.levels)
    assert len(kill.levels) <= records.LEVELS_MAX
    assert len(kill.stack) <= records.STACK_MAX
    for field in fields(kill):
        value = getattr(kill, field.name)
        assert not isinstance(value, int) or -(2**63) <= value < 2**64
    for comm in (kill.victim.comm, kill.trigger.comm):
        assert len(comm) <= records.COMM_SIZE
    for path in (
        kill.victim.cgroup,
        kill.unified_cgroup,
        kill.trigger.cgroup,
        *[each.cgroup for each in kill.levels],
    ):
        _check_path(path)
    if kill.levels and kill.levels_complete:
        assert kill.victim.cgroup == kill.levels[0].cgroup


def _check_path(path: str | None) -> None:
    if path is None:
        return
    assert path.startswith("/")
    assert "\0" not in path
    assert len(path) <= _TOP_LEVELS * (records.NAME_SIZE + 1 + len(CUT))
    path.encode()


def _scribbled(data: bytes) -> bytes:
    """Write over every member whose bit is missing."""
    changed = bytearray(data)
    known = ffi.from_buffer("struct oom_event *", changed)
    for bit, members in _OPTIONAL.items():
        for member in members if not known.fields & bit else ():
            offset = ffi.offsetof("struct oom_event", member)
            size = ffi.sizeof(records.MEMBERS[member])
            changed[offset : offset + size] = b"\xaa" * size
    ffi.release(known)
    return bytes(changed)


def _valid(random: Random) -> bytes:
    levels = [_level(random) for _ in range(random.choice((0, 1, 2, 3, 16)))]
    wide = random.random() < 0.4
    chosen = [random.choice((records.UNIFIED, records.TRIGGER)) for _ in range(random.randint(0, 2))]
    bits = random.choice((0, 2**14 - 1, random.getrandbits(14), random.getrandbits(32)))
    if not levels:
        bits &= ~Fields.LIMIT_LEVEL
    elif bits & Fields.LIMIT_LEVEL:
        bits |= Fields.LEVELS
    scalars = {name: _number(random, bits_) for name, bits_ in _SCALARS.items() if name not in _COUNTS}
    return records.record(
        victim_levels=levels,
        stack=[random.getrandbits(64) for _ in range(random.choice((0, 1, 32)))],
        paths={index: _path(random) for index in chosen} if wide else None,
        fields=bits,
        hook=random.choice((*records.HOOKS,) * 8 + (0, 5)),
        outcome=random.choice((0, 1, 2, 3) * 8 + (4,)),
        limit_level=random.randrange(len(levels)) if levels else 0,
        levels_skipped=random.choice((0, 0, 1, 2**32 - 1)),
        victim_comm=random.choice(_NAMES)[: records.COMM_SIZE],
        trigger_comm=random.choice(_NAMES)[: records.COMM_SIZE],
        **scalars,
    )


def _number(random: Random, bits: int) -> int:
    return random.choice((*_EDGES, random.getrandbits(bits))) % 2**bits


def _level(random: Random) -> Level:
    usage, limit = _number(random, 64), _number(random, 64)
    return Level(random.choice(_NAMES), usage, limit, *[random.random() < 0.5 for _ in range(3)])


def _path(random: Random) -> Path:
    names = [random.choice(_NAMES) for _ in range(random.choice((0, 1, 5, 16)))]
    return Path(names, skipped=random.choice((0, 0, 1)), cut=random.getrandbits(32))

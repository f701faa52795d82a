from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.codec import RecordError, decode
from oomtracer.events import OomKill

from . import records
from .builders import examples
from .records import EVENT_BYTES, HEADER_BYTES, WIDE_BYTES, Fields, Level, Path, record


def decoded_or_refused(data: bytes) -> OomKill | None:
    """Decode; only RecordError may come out, and what comes out must hold together."""
    try:
        kill = decode(data)
    except RecordError:
        return None
    assert kill.limit_level is None or kill.limit_level < len(kill.levels)
    assert len(kill.levels) <= records.LEVELS_MAX
    assert len(kill.stack) <= records.STACK_MAX
    return kill


def noise(seed: int, size: int) -> bytes:
    """Random bytes, more than hypothesis itself would make."""
    return random.Random(seed).randbytes(size)


@given(st.binary(max_size=64) | st.builds(noise, st.integers(0, 2**32), st.integers(0, WIDE_BYTES + 9)))
@examples(200)
def test_arbitrary_bytes_decode_or_are_refused(data):
    """Nothing but RecordError comes out of bytes of any kind and length."""
    decoded_or_refused(data)


@given(seed=st.integers(0, 2**32), wide=st.booleans(), fields=st.integers(0, 2**32 - 1))
@examples(200)
def test_a_right_header_before_garbage_decodes_or_is_refused(seed, wide, fields):
    """A header that fits does not make the rest believed: levels, depths and names may be anything."""
    size = WIDE_BYTES if wide else EVENT_BYTES
    head = record(paths={} if wide else None, fields=fields)[:HEADER_BYTES]
    decoded_or_refused(head + noise(seed, size - HEADER_BYTES))


@given(
    data=records.valid(),
    changes=st.lists(st.tuples(st.integers(0, WIDE_BYTES), st.integers(0, 255)), max_size=8),
)
@examples(200)
def test_a_damaged_record_decodes_or_is_refused(data, changes):
    """Flipped bytes anywhere in a valid record lead to a kill or to RecordError."""
    damaged = bytearray(data)
    for offset, value in changes:
        damaged[offset % len(damaged)] = value
    decoded_or_refused(bytes(damaged))


@given(records.valid())
@examples(100)
def test_whatever_the_program_can_write_decodes(data):
    """Every valid record is understood."""
    assert decoded_or_refused(data)


@given(data=records.valid(), size=st.integers(0, 2 * WIDE_BYTES))
@examples(200)
def test_a_record_of_another_length_is_refused(data, size):
    """Truncated and extended records are refused, never filled up or cut to fit."""
    if size == len(data):
        return
    with pytest.raises(RecordError):
        decode(data[:size].ljust(size, b"\0"))


@pytest.mark.parametrize(
    "values",
    [
        {"type": 0},
        {"type": 2},
        {"version": 0},
        {"version": 2},
        {"hook": 0},
        {"hook": 9},
        {"outcome": 4},
        {"size": EVENT_BYTES - 8},
        {"size": 0},
        {"paths_offset": EVENT_BYTES},
        {"paths_offset": 8},
        {"levels": 17},
        {"levels": 2**32 - 1},
        {"stack_depth": 33},
        {"stack_depth": 2**32 - 1},
        {"fields": Fields.LIMIT_LEVEL | Fields.LEVELS, "limit_level": 0},
    ],
)
def test_a_record_that_says_something_unknown_is_refused(values):
    """Unknown type, version, hook, outcome, size or count: refused, never guessed at."""
    with pytest.raises(RecordError):
        decode(record(**values))


@pytest.mark.parametrize(
    "values", [{"paths_offset": 0}, {"paths_offset": EVENT_BYTES + 8}, {"size": EVENT_BYTES}]
)
def test_a_wide_record_that_contradicts_itself_is_refused(values):
    """Paths that are not where the record ends, or that the size leaves out: refused."""
    with pytest.raises(RecordError):
        decode(record(paths={}, **values))


@pytest.mark.parametrize("index", [records.UNIFIED, records.TRIGGER])
def test_a_further_path_with_too_many_levels_is_refused(index):
    """More levels than a path can hold: refused."""
    data = bytearray(record(paths={index: Path([b"a"])}))
    offset = EVENT_BYTES + index * (WIDE_BYTES - EVENT_BYTES) // 2
    data[offset : offset + 4] = (17).to_bytes(4, "little")
    with pytest.raises(RecordError):
        decode(bytes(data))


def test_a_known_limit_without_levels_is_refused():
    """An index into levels that the record does not tell leads nowhere."""
    with pytest.raises(RecordError):
        decode(record(victim_levels=[Level(b"a")], fields=Fields.LIMIT_LEVEL, limit_level=0))


@given(
    data=records.valid(),
    poison=st.binary(min_size=1, max_size=8),
    full=st.booleans(),
    cut=st.integers(0, 300),
)
@examples(150)
def test_nothing_behind_the_record_is_ever_read(data, poison, full, cut):
    """What lies behind the bytes handed over changes nothing, even where no name in them ends."""
    body = data[:HEADER_BYTES] + b"\x41" * (len(data) - HEADER_BYTES) if full else data
    kills = []
    for filling in (b"\0", poison):
        memory = body + filling * WIDE_BYTES
        size = max(len(body) - cut, EVENT_BYTES)
        with suppress(RecordError):
            kills.append(decode(memoryview(memory)[:size]))
    assert kills in ([], kills[:1] * 2)


def test_a_name_without_an_end_stops_at_its_field():
    """The last name of a wide record, without a NUL, ends where the record ends."""
    data = bytearray(record(paths={records.TRIGGER: Path([b"x"] * records.LEVELS_MAX)}))
    data[-records.NAME_SIZE :] = b"y" * records.NAME_SIZE
    kill = decode(memoryview(bytes(data) + b"z" * 500)[:WIDE_BYTES])
    assert kill.trigger.cgroup == "/" + "y" * records.NAME_SIZE + "/x" * (records.LEVELS_MAX - 1)

"""A ring's memory, in any state: ``oomtracer/libbpf/native_ring.h`` by way of ``oomtracer.libbpf.ring``.

An input is the size's exponent, how many records are read at once, the two positions, and the data. What reads beyond the
memory in C does not show here but in ``ring_fuzzer.c``.
"""

from __future__ import annotations

import struct
from random import Random

from oomtracer._native import ffi, lib  # noqa: TID251 - tests write what the kernel would
from oomtracer.errors import OomTracerError
from oomtracer.libbpf.ring import read_records

from .mutate import mutated

HEAD = struct.Struct("<BBQQ")
_BUSY, _DISCARDED = 1 << 31, 1 << 30
_LENGTHS = (0, 1, 7, 8, 9, 24, 100, 4000)
_STARTS = (0, 8, 4096, 2**32 - 8, 2**40, 2**64 - 64, 2**64 - 8, 4)


def generate(random: Random) -> bytes:
    """Make a ring as the kernel leaves it, or one with changes anywhere."""
    exponent, start, written = random.choice((1, 3, 6, 9)), random.choice(_STARTS), 0
    size = _size(exponent)
    data = bytearray(random.randbytes(size))
    while random.random() < 0.9:
        length = random.choice(_LENGTHS)
        total = (length + 15) // 8 * 8
        if written + total > size:
            break
        flags = random.choice((0,) * 8 + (_DISCARDED, _BUSY))
        for i, byte in enumerate(struct.pack("<II", length | flags, 0)):
            data[(start + written + i) % size] = byte
        written += total
    whole = HEAD.pack(exponent, random.choice((1, 2, 100)), start, (start + written) % 2**64) + data
    return mutated(random, whole) if random.random() < 0.5 else whole


def check(data: bytes) -> None:
    """The records that the layout says, up to the first place that contradicts itself; in any number of steps."""
    if len(data) < HEAD.size:
        return
    exponent, limit, start, produced = HEAD.unpack_from(data)
    size = _size(exponent)
    memory = data[HEAD.size :][:size].ljust(size, b"\0") * 2
    expected, is_damaged, end = _reference(memory, size, start, produced)
    found, was_refused, position, consumer = _read(memory, (size, start, produced), 1 + limit % 100)
    assert (found, was_refused, position) == (expected, is_damaged, end)
    assert consumer == end


def _size(exponent: int) -> int:
    return 1 << (3 + exponent % 10)


def _read(
    memory: bytes, state: tuple[int, int, int], limit: int
) -> tuple[list[tuple[int, bytes]], bool, int, int]:
    size, start, produced = state
    kept = ffi.from_buffer("unsigned char[]", memory)
    consumer, producer = ffi.new("uint64_t *", start), ffi.new("uint64_t *", produced)
    ring = ffi.new("struct oomtracer_ring *", [consumer, producer, kept, size, start])
    found: list[tuple[int, bytes]] = []
    is_refused = False
    try:
        while batch := read_records(ring, limit=limit):
            assert len(batch) <= limit
            found += batch
    except OomTracerError:
        is_refused = True
    assert consumer[0] == start, "reading alone releases nothing"
    lib.oomtracer_ring_release(ring)
    return found, is_refused, ring.position, consumer[0]


def _reference(
    memory: bytes, size: int, start: int, produced: int
) -> tuple[list[tuple[int, bytes]], bool, int]:
    """The same by the documentation alone: the records with their ends, whether it is damaged, where it stops."""
    records: list[tuple[int, bytes]] = []
    at = start
    while True:
        left = (produced - at) % 2**64
        if left > size or at % 8:
            return records, True, at
        if not left:
            return records, False, at
        offset = at % size
        word = int.from_bytes(memory[offset : offset + 4], "little")
        if word & _BUSY:
            return records, False, at
        length = word % _DISCARDED
        total = (length + 15) // 8 * 8
        if total > left:
            return records, True, at
        at = (at + total) % 2**64
        if not word & _DISCARDED:
            records.append((at, memory[offset + 8 : offset + 8 + length]))

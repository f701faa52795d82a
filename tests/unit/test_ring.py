from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer._native import ffi, lib
from oomtracer.errors import OomTracerError
from oomtracer.libbpf.ring import read_records

from .builders import examples

SIZE = 256
BUSY, DISCARDED = 1 << 31, 1 << 30


class Memory:
    """A ring in plain memory, written as the kernel writes it."""

    def __init__(self, start: int = 0) -> None:
        self.consumer, self.producer = ffi.new("uint64_t *", start), ffi.new("uint64_t *", start)
        self.bytes = ffi.new("unsigned char[]", 2 * SIZE)
        self.ring = ffi.new(
            "struct oomtracer_ring *", [self.consumer, self.producer, self.bytes, SIZE, self.consumer[0]]
        )

    def write(self, data: bytes, flags: int = 0, *, length: int | None = None) -> int | None:
        """Write one record where there is room; where it ends."""
        room = (len(data) + 8 + 7) // 8 * 8
        if self.producer[0] + room - self.consumer[0] > SIZE:
            return None
        header = ((len(data) if length is None else length) | flags).to_bytes(4, "little") + bytes(4)
        for i, byte in enumerate(header + data):
            at = (self.producer[0] + i) % SIZE
            self.bytes[at] = self.bytes[at + SIZE] = byte
        self.producer[0] += room
        return self.producer[0]

    def read(self, limit: int = 100) -> list[tuple[int, bytes]]:
        """Read without releasing."""
        return read_records(self.ring, limit=limit)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=70), st.sampled_from([0, DISCARDED])),
        st.tuples(st.just("read"), st.integers(0, 5)),
        st.tuples(st.just("release")),
        st.tuples(st.just("restart")),
    ),
    max_size=60,
)


@given(st.integers(0, 1 << 40).map(lambda n: n * 8), STEPS)
@examples(300)
def test_every_record_is_read_until_it_is_released(start, steps):
    """Each is read once by one reader, in order, and again by the next one unless its room was given back."""
    memory = Memory(start)
    waiting: list[tuple[int, bytes]] = []
    was_read = 0
    for step, *arguments in steps:
        match step:
            case "write":
                data, flags = arguments
                end = memory.write(data, flags)
                if end is not None and not flags:
                    waiting.append((end, data))
            case "read":
                found = memory.read(arguments[0])
                assert found == waiting[was_read : was_read + arguments[0]]
                was_read += len(found)
            case "release":
                lib.oomtracer_ring_release(memory.ring)
                del waiting[:was_read]
                was_read = 0
            case "restart":
                memory.ring.position = memory.consumer[0]
                was_read = 0
    assert memory.read() == waiting[was_read:]


def test_a_record_that_is_being_written_holds_back_those_behind_it():
    """What is busy is not there yet, and order is kept."""
    memory = Memory()
    memory.write(b"first")
    memory.write(b"second", BUSY)
    memory.write(b"third")
    assert [data for _, data in memory.read()] == [b"first"]
    memory.bytes[16 + 3] = 0  # the kernel takes the flag away
    assert [data for _, data in memory.read()] == [b"second", b"third"]


def test_the_room_comes_back_only_by_release():
    """Reading alone frees nothing."""
    memory = Memory()
    while memory.write(bytes(24)):
        pass
    assert len(memory.read()) == SIZE // 32
    assert memory.write(b"") is None
    lib.oomtracer_ring_release(memory.ring)
    assert memory.write(b"") is not None


@pytest.mark.parametrize(
    ("producer", "length", "position"),
    [(32, 25, 0), (32, 0x3FFFFFFF, 0), (SIZE + 8, 8, 0), (0, 8, 8), (32, 8, 4)],
    ids=[
        "longer than written",
        "longer than the ring",
        "more than the ring",
        "before the reader",
        "unaligned",
    ],
)
def test_a_damaged_ring_is_an_error_and_never_read_beyond(producer, length, position):
    """Positions and lengths that contradict each other end the reading."""
    memory = Memory()
    memory.write(bytes(24), length=length)
    memory.producer[0], memory.ring.position = producer, position
    with pytest.raises(OomTracerError, match="damaged"):
        memory.read()

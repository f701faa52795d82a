from __future__ import annotations

import os

from oomtracer.codec import decode
from oomtracer.libbpf import RingBuffer
from oomtracer.tracer import Tracer, record_bytes

MIB = 1 << 20


def victims(records) -> list[int]:
    """The process ids that records tell of."""
    return [decode(record.data).victim.pid for record in records]


def test_what_is_not_released_is_there_for_the_next_reader(make_cgroup, grow):
    """A reader that dies between reading and storing has lost nothing."""
    cgroup = make_cgroup("oomt-ring").limit(16 * MIB)
    with Tracer(ring_size_bytes=MIB) as tracer:
        first = [grow(cgroup) for _ in range(3)]
        with RingBuffer(tracer._ring.fileno()) as died:
            assert victims(died.read(limit=2)) == first[:2]
            died.release()
            assert victims(died.read(limit=9)) == first[2:]
        second = grow(cgroup)
        with RingBuffer(tracer._ring.fileno()) as reader:
            assert victims(reader.read(limit=9)) == [first[2], second]
            reader.release()
            assert reader.read(limit=9) == []
        assert victims(tracer.read().records) == [*first, second]  # this one mapped it before all that


def test_the_kernel_gets_its_room_back_by_release_alone(make_cgroup, grow):
    """A full ring takes nothing while its records are read, and something once they are released."""
    ring_size_bytes = 4 * os.sysconf("SC_PAGE_SIZE")
    cgroup = make_cgroup("oomt-ring").limit(16 * MIB)
    with Tracer(ring_size_bytes=ring_size_bytes) as tracer:
        for _ in range(ring_size_bytes // record_bytes() + 2):
            grow(cgroup)
        lost = tracer.counted().ring_full
        assert lost
        tracer.read()
        grow(cgroup)
        assert tracer.counted().ring_full == lost + 1
        tracer.release()
        kept = grow(cgroup)
        assert victims(tracer.read().records) == [kept]
        assert tracer.counted().ring_full == lost + 1

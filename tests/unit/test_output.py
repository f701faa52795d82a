from __future__ import annotations

import asyncio
import os
import pty
import socket
import termios
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.sinks.output import OutputWriter

from .builders import examples
from .pipes import Pipe, drained, must_not_block, opened, pipe, run


def reports(count: int, size: int = 200) -> list[bytes]:
    """Make numbered lines."""
    return [f"{number:06} {'x' * size}\n".encode() for number in range(count)]


def write_all(writer: OutputWriter, lines: list[bytes]) -> list[bytes]:
    """Write each, and tell which were taken."""
    taken = []
    for line in lines:
        lost = writer.lost
        writer.write(line)
        if writer.lost == lost:
            taken.append(line)
    return taken


def flushed(writer: OutputWriter) -> asyncio.Task[None]:
    """Flush beside the test."""
    return asyncio.create_task(writer.flush(20))


def test_with_room_a_report_is_out_at_once():
    """What the pipe has room for is written before write() returns, and nothing waits."""

    async def scenario() -> None:
        with pipe(1 << 16) as ends:
            writer = OutputWriter(ends.writer)
            writer.write(b"one\n")
            writer.write(b"two\n")
            assert ends.read_some() == b"one\ntwo\n"
            assert (writer.lost, writer.queued_bytes) == (0, 0)
            await writer.flush(1)

    run(scenario())


def test_a_slow_reader_loses_nothing_up_to_the_queues_size():
    """Reports wait in their order while nobody reads; all arrive when somebody does."""

    async def scenario() -> None:
        with pipe() as ends, must_not_block():
            writer = OutputWriter(ends.writer)
            lines = reports(2000)
            assert write_all(writer, lines) == lines
            assert writer.queued_bytes > 0
            assert await drained(ends, flushed(writer)) == b"".join(lines)
            assert (writer.lost, writer.queued_bytes) == (0, 0)

    run(scenario())


def test_what_does_not_fit_the_queue_is_counted_and_the_rest_stays_whole():
    """Beyond its size whole reports are dropped, each counted once; those taken arrive in order."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer, queue_bytes=10_000)
            lines = reports(500)
            taken = write_all(writer, lines)
            assert writer.lost == len(lines) - len(taken) > 0
            assert 10_000 - len(lines[0]) < writer.queued_bytes <= 10_000
            assert await drained(ends, flushed(writer)) == b"".join(taken)
            writer.write(b"after\n")
            assert ends.read_some() == b"after\n"

    run(scenario())


def test_a_report_larger_than_the_queue_is_dropped_whole():
    """A report that can never fit is counted, never cut."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer, queue_bytes=100)
            writer.write(b"x" * 101)
            writer.write(b"fits\n")
            assert (writer.lost, ends.read_some()) == (1, b"fits\n")

    run(scenario())


@given(st.lists(st.integers(1, 9000), max_size=30))
@examples(40)
def test_reports_of_any_size_arrive_byte_for_byte(sizes):
    """Partial writes at any place of a report neither repeat nor drop a byte."""

    async def scenario() -> None:
        with pipe() as ends, must_not_block():
            writer = OutputWriter(ends.writer)
            lines = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
            write_all(writer, lines)
            assert await drained(ends, flushed(writer)) == b"".join(lines)

    run(scenario())


def test_a_descriptor_that_somebody_else_made_non_blocking():
    """O_NONBLOCK set by another program on the shared file changes nothing."""

    async def scenario() -> None:
        with pipe() as ends:
            os.set_blocking(ends.writer, False)
            writer = OutputWriter(ends.writer)
            lines = reports(1000, 5000)
            write_all(writer, lines)
            assert await drained(ends, flushed(writer)) == b"".join(lines)
            assert not os.get_blocking(ends.writer)

    run(scenario())


def test_partial_writes_of_a_non_blocking_descriptor(monkeypatch):
    """A write that takes less than it was given, or nothing, is gone on with where it stopped."""

    async def scenario() -> None:
        with pipe(1 << 16) as ends:
            real, calls = os.write, iter(range(10**6))

            def stingy(fd: int, data: bytes) -> int:
                if next(calls) % 3 == 2:
                    raise BlockingIOError
                return real(fd, data[:7])

            writer = OutputWriter(ends.writer)
            monkeypatch.setattr(os, "write", stingy)
            lines = reports(50)
            write_all(writer, lines)
            assert await drained(ends, flushed(writer)) == b"".join(lines)

    run(scenario())


def test_the_shared_descriptor_stays_in_blocking_mode():
    """The open file belongs to the shell too: its flags are not touched."""

    async def scenario() -> None:
        with pipe() as ends:
            write_all(OutputWriter(ends.writer, queue_bytes=1000), reports(100))
            assert os.get_blocking(ends.writer)

    run(scenario())


def test_a_regular_file_takes_everything_at_once(tmp_path):
    """A file, which no poller can watch, is written directly."""

    async def scenario() -> None:
        with (tmp_path / "reports").open("wb") as file:
            writer = OutputWriter(file.fileno())
            lines = reports(1000)
            write_all(writer, lines)
            await writer.flush(1)
            assert (tmp_path / "reports").read_bytes() == b"".join(lines)

    run(scenario())


def test_a_socket_as_under_a_service_manager():
    """A stream socket, the journal's, is as good as a pipe."""

    async def scenario() -> None:
        ends = [end.detach() for end in socket.socketpair()]
        with opened(*ends) as both, must_not_block():
            writer = OutputWriter(both.writer)
            lines = reports(3000)
            write_all(writer, lines)
            assert writer.queued_bytes > 0
            assert await drained(both, flushed(writer)) == b"".join(lines)

    run(scenario())


@pytest.mark.parametrize("cooked", [False, True])
def test_a_terminal_that_nobody_reads_does_not_block_the_loop(cooked):
    """A stopped terminal takes what it has room for, at any size of reports; the rest waits."""

    async def scenario(ends: Pipe, size: int) -> None:
        if not cooked:
            tty.setraw(ends.writer, termios.TCSANOW)
        with must_not_block():
            writer = OutputWriter(ends.writer)
            lines = reports(300_000 // size, size)
            write_all(writer, lines)
            assert writer.queued_bytes > 0
            got = await drained(ends, flushed(writer))
        assert got.replace(b"\r\n", b"\n") == b"".join(lines)
        assert os.get_blocking(ends.writer)

    for size in (70, 250, 1000, 1500, 3841, 3849, 3900):
        with opened(*pty.openpty()) as ends:
            run(scenario(ends, size))

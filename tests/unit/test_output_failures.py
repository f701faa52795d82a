from __future__ import annotations

import asyncio
import gc
import os
import pty
from pathlib import Path

import pytest

from oomtracer.errors import OutputError
from oomtracer.sinks.output import OutputWriter

from .pipes import drained, opened, pipe, run


def failure(writer: OutputWriter) -> str:
    """Take the error's text."""
    with pytest.raises(OutputError) as caught:
        writer.failed.result()
    return str(caught.value)


def test_a_closed_reader_is_one_error():
    """The first write that finds no reader fails the output; later reports are counted as lost."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer)
            ends.close_reader()
            for _ in range(3):
                writer.write(b"report\n")
            assert failure(writer) == "cannot write reports to stdout: its reader is gone"
            assert (writer.lost, writer.queued_bytes) == (3, 0)
            with pytest.raises(OutputError, match="its reader is gone"):
                await writer.flush(1)

    run(scenario())


def test_a_reader_that_goes_while_reports_wait_is_noticed_without_another_report():
    """The loop tells of the closed pipe: what waits is lost and counted, and nobody waits on."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer)
            for _ in range(100):
                writer.write(b"x" * 1000)
            waiting = writer.queued_bytes
            assert waiting > 90_000
            ends.close_reader()
            await asyncio.wait([writer.failed])
            assert "its reader is gone" in failure(writer)
            assert writer.lost >= waiting // 1000
            assert writer.queued_bytes == 0

    run(scenario())


def test_a_full_disk_is_told_by_its_errno():
    """ENOSPC fails the output at the first report."""

    async def scenario() -> None:
        fd = os.open("/dev/full", os.O_WRONLY)
        try:
            writer = OutputWriter(fd, name="the file")
            writer.write(b"report\n")
            assert failure(writer).startswith("cannot write reports to the file: ENOSPC (")
            assert writer.lost == 1
        finally:
            os.close(fd)

    run(scenario())


def test_a_descriptor_closed_under_the_writer_is_an_error_too():
    """EBADF is told, not raised into whoever reports."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer)
            os.close(ends.writer)
            ends.writer = -1
            writer.write(b"report\n")
            assert "EBADF" in failure(writer)

    run(scenario())


def test_flush_gives_up_at_its_deadline_and_counts_what_waited():
    """A reader that never reads costs the deadline, then an error, and every waiting report is counted."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer)
            for _ in range(20):
                writer.write(b"x" * 1000)
            with pytest.raises(OutputError, match=r"took no data for 0\.05 s"):
                await writer.flush(0.05)
            arrived = len(ends.read_some()) // 1000
            assert writer.lost == 20 - arrived
            assert writer.queued_bytes == 0

    run(scenario())


def test_flush_of_an_idle_writer_returns_at_once():
    """With nothing queued there is nothing to wait for, however often it is asked."""

    async def scenario() -> None:
        with pipe() as ends:
            writer = OutputWriter(ends.writer)
            await writer.flush(0.01)
            writer.write(b"x\n")
            await writer.flush(0.01)
            assert await drained(ends, asyncio.create_task(writer.flush(1))) == b"x\n"

    run(scenario())


@pytest.mark.parametrize("ends", [os.pipe, pty.openpty])
def test_a_writer_leaves_no_descriptor_behind(ends):
    """What a writer opened for itself, as for a terminal, is closed after its time."""
    before = set(Path("/proc/self/fd").iterdir())

    async def scenario() -> None:
        with opened(*ends()) as both:
            OutputWriter(both.writer).write(b"x\n")

    run(scenario())
    gc.collect()
    assert set(Path("/proc/self/fd").iterdir()) == before

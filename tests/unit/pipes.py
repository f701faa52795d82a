"""Real descriptors for the output, and a loop that no descriptor or task may outlive."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 30


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run to the end; an error in a callback, or a task left over, fails the test."""
    errors: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await scenario
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())
    assert errors == []


@dataclass
class Pipe:
    """Both ends of a pipe (or the like); -1 for a closed one."""

    reader: int
    writer: int

    def close_reader(self) -> None:
        """Close the reading end."""
        os.close(self.reader)
        self.reader = -1

    def read_some(self) -> bytes:
        """Take what is there, without waiting."""
        os.set_blocking(self.reader, False)
        taken = b""
        with suppress(BlockingIOError):
            while data := os.read(self.reader, 1 << 16):
                taken += data
        return taken


@contextmanager
def opened(reader: int, writer: int) -> Iterator[Pipe]:
    """Close both ends afterwards."""
    ends = Pipe(reader, writer)
    try:
        yield ends
    finally:
        for end in (ends.reader, ends.writer):
            if end >= 0:
                os.close(end)


@contextmanager
def pipe(size_bytes: int = 4096) -> Iterator[Pipe]:
    """Make a small pipe, so that little fills it."""
    with opened(*os.pipe()) as ends:
        fcntl.fcntl(ends.writer, fcntl.F_SETPIPE_SZ, size_bytes)
        yield ends


async def drained(ends: Pipe, done: asyncio.Future[Any] | asyncio.Task[Any]) -> bytes:
    """Read until ``done``, as the loop says that there is something; then what is left."""
    loop = asyncio.get_running_loop()
    taken = bytearray()
    loop.add_reader(ends.reader, lambda: taken.extend(ends.read_some()))
    try:
        await done
    finally:
        loop.remove_reader(ends.reader)
    return bytes(taken) + ends.read_some()


@contextmanager
def must_not_block(seconds: float = 5) -> Iterator[None]:
    """Fail the test, rather than hang it, where a system call waits."""

    def blocked(*_: Any) -> None:
        raise AssertionError("the event loop was blocked by a write")

    previous = signal.signal(signal.SIGALRM, blocked)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

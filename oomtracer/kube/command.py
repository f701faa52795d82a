"""Runs a command to its end, bounded in time and output, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

OUTPUT_BYTES = 1 << 20
"""More output than this is cut off."""

_READ_BYTES = 1 << 16
_REAP_S = 5.0
# A killed process that is still there after this time is stuck in the kernel.


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. ``code`` is negative for a signal."""

    code: int
    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)


async def run_command(
    command: Sequence[str], *, environment: Mapping[str, str], timeout_s: float
) -> Finished:
    """Run it without input, in a session of its own.

    Raises OSError or ValueError: it cannot be started; TimeoutError: it has been killed, with what it had started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            return Finished(await process.wait(), output, errors)
    except BaseException:
        await _kill(process)
        raise


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    """The stream to its end; what is too much is read too, so that the command is never held up."""
    assert stream is not None
    kept = bytearray()
    while data := await stream.read(_READ_BYTES):
        kept += data[: OUTPUT_BYTES - len(kept)]
    return bytes(kept)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # What it started in a session of its own may hold the pipes open for ever; nothing else closes our ends.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    with suppress(TimeoutError):
        async with asyncio.timeout(_REAP_S):
            await process.wait()

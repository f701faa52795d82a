"""Writes to a journal until it is killed, and says on standard output what was acknowledged.

``python -m tests.journal.writing DIRECTORY FIRST``: raw records and reports are numbered from FIRST on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from oomtracer.journal import Delivery, Journal, Retention, reports

from .scene import RING, row


async def main(directory: str, first: str) -> None:
    """Write for ever."""
    journal = Journal(Path(directory), Retention(boot_id="another", max_bytes=1 << 30))
    await journal.start()
    number = int(first)
    while True:
        batch = range(number, number + 1 + number % 7)
        await journal.store(RING, [(each, b"x" * 500) for each in batch])
        print("stored", batch[-1], flush=True)
        added = await journal.add(
            [row(each, pending=Delivery.STDOUT) for each in batch], [(RING, each) for each in batch]
        )
        assert all(added)
        print("added", batch[-1], flush=True)
        if number % 3 == 0:
            done = [row(each).report.id for each in batch]
            await journal.submit(lambda each, done=done: reports.settle(each, done, Delivery.STDOUT))
            print("settled", batch[0], batch[-1], flush=True)
        number = batch[-1] + 1


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

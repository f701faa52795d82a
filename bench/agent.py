"""The agent as a process of its own, each of its lines with the instant at which it was read."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

DEADLINE_SECONDS = 60.0


class BenchError(Exception):
    """Something did not go as a measurement needs it."""


def command() -> list[str]:
    """``oomtracer`` as it is installed for this interpreter."""
    script = shutil.which("oomtracer", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "oomtracer"]


def environment(bytecode: Path) -> dict[str, str]:
    """The agent's: without flags from outside, and with bytecode as every installed package has it."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OOMTRACER_", "PYTHON"))
    }
    return kept | {"PYTHONPYCACHEPREFIX": str(bytecode)}


def boot_time_ns() -> int:
    """Now, on the clock of the records."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Lines:
    """Lines of a pipe, each with the boot-clock time after the read that completed it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = self._last = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._ready: list[tuple[int, bytes]] = []

    def take(self, count: int) -> list[tuple[int, bytes]]:
        """The next lines. Raises BenchError where they do not come."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(self._ready) < count:
            self._read(deadline, f"{len(self._ready)} of {count} lines came")
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def until(self, part: bytes) -> Iterator[tuple[int, bytes]]:
        """Lines up to the first that has the part in it."""
        while True:
            [line] = self.take(1)
            yield line
            if part in line[1]:
                return

    def _read(self, deadline: float, progress: str) -> None:
        wait_ms = max(deadline - time.monotonic(), 0) * 1000
        data = os.read(self._fd, 1 << 16) if self._poll.poll(wait_ms) else b""
        now = boot_time_ns()
        if not data:
            raise BenchError(f"{progress}, then the agent ended or fell silent; the last was {self._last!r}")
        self._last = data[-300:]
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._ready.extend((now, line) for line in lines)


class Agent:
    """``oomtracer run --output json``, tracing once the context is entered, gone when it is left.

    ``attached_seconds`` and ``tracing_seconds``: from the start of the process to the log line. ``around`` is a
    command that in the end becomes the one behind it.
    """

    def __init__(self, environment: dict[str, str], *flags: str, around: Sequence[str] = ()) -> None:
        self._environment = environment
        self._flags = flags
        self._around = around
        self._url = ""

    def __enter__(self) -> Self:
        self._start = boot_time_ns()
        self.process = subprocess.Popen(
            [*self._around, *command(), "run", "--output", "json", *self._flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        )
        assert self.process.stdout
        assert self.process.stderr
        self.reports = Lines(self.process.stdout.fileno())
        self.log = Lines(self.process.stderr.fileno())
        try:
            self._follow_start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Process id of the agent."""
        return self.process.pid

    def scrape(self) -> None:
        """Read /metrics, where it is served."""
        if self._url:
            with urllib.request.urlopen(self._url, timeout=DEADLINE_SECONDS) as response:
                response.read()

    def stop(self) -> None:
        """End it by SIGTERM. Raises BenchError where it does not end well."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=DEADLINE_SECONDS)
        if self.process.returncode != 0:
            said = log.decode(errors="replace").strip()
            raise BenchError(f"the agent ended with {self.process.returncode}: {said}")

    def synced_seconds(self) -> float:
        """Wait for the first list of pods; the time from the start of the process until then."""
        return [read_at - self._start for read_at, _ in self.log.until(b"following the pods")][-1] / 1e9

    def _follow_start(self) -> None:
        for read_at, line in self.log.until(b"tracing OOM kills"):
            self.tracing_seconds = (read_at - self._start) / 1e9
            if b"attached tp_btf/mark_victim" in line:
                self.attached_seconds = self.tracing_seconds
            elif b"serving /metrics" in line:
                self._url = f"http://127.0.0.1:{int(line.rpartition(b':')[2])}/metrics"

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

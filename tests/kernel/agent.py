"""The real agent as a process of its own: started, read with deadlines, stopped, never left behind."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jsonschema
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = (sys.executable, "-m", "oomtracer")
_SCHEMA = json.loads((Path(__file__).parents[2] / "docs/oom-report.schema.json").read_text())
# Made once: `jsonschema.validate` checks the schema itself each time, which takes thirty times as long.
PUBLISHED = jsonschema.validators.validator_for(_SCHEMA)(_SCHEMA)
DEADLINE_SECONDS = 30.0

Report = dict[str, Any]


class Lines:
    """Whole lines of a pipe, with deadlines."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""
        self.all: list[str] = []

    def next(self, deadline_seconds: float = DEADLINE_SECONDS) -> str | None:
        """The next line; None at the end of the pipe."""
        deadline = time.monotonic() + deadline_seconds
        while b"\n" not in self._data:
            left = deadline - time.monotonic()
            ready = select.select([self._fd], [], [], max(left, 0))[0]
            assert ready, f"no line within {deadline_seconds} s; before it: {self.all[-3:]}"
            chunk = os.read(self._fd, 1 << 16)
            if not chunk:
                return None
            self._data += chunk
        line, _, self._data = self._data.partition(b"\n")
        self.all.append(line.decode())
        return self.all[-1]

    def until(self, pattern: str) -> str:
        """The first line from here on in which a pattern is found."""
        while (line := self.next()) is not None:
            if re.search(pattern, line):
                return line
        raise AssertionError(f"the pipe ended without {pattern!r}: {self.all}")

    def rest(self) -> list[str]:
        """All lines up to the end of the pipe."""
        lines = []
        while (line := self.next()) is not None:
            lines.append(line)
        return lines


class Agent:
    """``oomtracer run --output json``, traced and ready once the context is entered."""

    def __init__(self, *flags: str, prefix: Sequence[str] = (), ready: bool = True) -> None:
        self._command = [*prefix, *COMMAND, "run", "--output", "json", *flags]
        self._ready = ready

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stderr
        self.reports = Lines(self.process.stdout.fileno())
        self.log = Lines(self.process.stderr.fileno())
        try:
            self.wait_until_ready()
        except BaseException:  # nobody else ends a process that is not ready in time
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def wait_until_ready(self) -> None:
        """Wait until it says that it traces, where that was asked for."""
        if self._ready:
            self.log.until("tracing OOM kills")

    @property
    def pid(self) -> int:
        """Process id of the agent."""
        return self.process.pid

    def report(self) -> Report:
        """The next report, valid by the published schema."""
        line = self.reports.next()
        assert line is not None, "the agent's output ended"
        return parse_report(line)

    def report_of(self, pid: int) -> Report:
        """The report of one process."""
        while (report := self.report())["victim"]["pid"] != pid:
            pass
        return report

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[Report]]:
        """Signal it; its exit code and the reports not read yet."""
        self.process.send_signal(number)
        rest = [parse_report(line) for line in self.reports.rest()]
        return self.process.wait(DEADLINE_SECONDS), rest


def parse_report(line: str) -> Report:
    """A line of the output, checked against the published schema."""
    report: Report = json.loads(line)
    PUBLISHED.validate(report)
    return report


def with_mounts(commands: str) -> list[str]:
    """A command prefix: shell commands that change what is mounted below /sys, seen by that command alone."""
    # Not unshare's own way of keeping mounts private, which fails in a chroot.
    private = f'mount --make-rprivate /sys && {commands} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", private, "sh"]


def run_oomtracer(
    *arguments: str, prefix: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Another command of the program, to its end."""
    return subprocess.run(
        [*prefix, *COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        **options,
    )


def get(url: str) -> tuple[int, str]:
    """Status and body of a page."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(page: str, name: str, **labels: str) -> float:
    """The value of one series of a metrics page."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    values = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
    assert len(values) == 1, f"{name} {labels} is {len(values)} times on the page"
    return float(values[0])

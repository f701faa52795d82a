"""The steps of the self-test and what the report of its kill must say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from oomtracer.errors import OomTracerError, errno_name
from oomtracer.events import Outcome, Scope
from oomtracer.kernel import facts
from oomtracer.kernel.symbols import KernelSymbols
from oomtracer.pipeline import Attributor, Intake, Pipeline
from oomtracer.selftest.cgroup import victim_cgroup
from oomtracer.tracer import TRUTH, Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oomtracer.events import OomReport

LIMIT_BYTES = 16 << 20
RING_BYTES = 64 << 10
DEADLINE_SECONDS = 10.0

# The victim waits until it is in its cgroup, volunteers as the first to be killed, then grows.
_VICTIM = f"""
import sys
open("/proc/self/oom_score_adj", "w").write("1000")
sys.stdin.read(1)
memory = bytearray()
while len(memory) < {4 * LIMIT_BYTES}:
    memory += b"x" * {1 << 20}
"""


class SelftestError(OomTracerError):
    """The kill or its report was not as it must be."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and how long it took in seconds."""

    name: str
    seconds: float


@dataclass(slots=True)
class SelftestResult:
    """The steps in their order."""

    steps: list[Step] = field(default_factory=list)
    scope_known: bool = True
    """Whether kernel symbols were readable, so that scope and limit could be demanded too."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.steps.append(Step(name, time.perf_counter() - start))


def selftest(*, disabled_hooks: frozenset[str] = frozenset()) -> SelftestResult:
    """Run it. Raises SelftestError for a wrong or missing report, UnsupportedError where it cannot run."""
    return asyncio.run(_interruptible(disabled_hooks))


async def _interruptible(disabled_hooks: frozenset[str]) -> SelftestResult:
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await _selftest(disabled_hooks)
    except asyncio.CancelledError:
        raise SelftestError("interrupted; what the self-test had made is removed") from None


async def _selftest(disabled_hooks: frozenset[str]) -> SelftestResult:
    result = SelftestResult()
    reports: asyncio.Queue[OomReport] = asyncio.Queue()
    symbols = KernelSymbols.load()
    pipeline = _pipeline(reports, symbols)
    with ExitStack() as stack:
        tracer = Tracer(ring_size_bytes=RING_BYTES, disabled_hooks=disabled_hooks)
        with result.step("load and attach"):
            stack.enter_context(tracer)
        intake = Intake(tracer, pipeline.handle)
        draining = asyncio.create_task(intake.run(), name="intake")
        stack.callback(draining.cancel)
        cgroups = stack.enter_context(ExitStack())
        with result.step("make the cgroup"):
            cgroup = cgroups.enter_context(victim_cgroup(LIMIT_BYTES))
        with result.step("start and kill a process"):
            pid = await _kill(cgroup)
        with result.step("report"):
            report = await _report_of(cgroup.name, pid, reports)
        with result.step("clean up"):
            cgroups.close()
            intake.stop()
            await draining
            stack.close()
    result.scope_known = len(symbols) > 0
    signals = any(choice.group == TRUTH and choice.hook for choice in tracer.choices)
    _demand(report, pid, f"/{cgroup.name}", scope_known=result.scope_known, outcome_known=signals)
    return result


class _Queue:
    """A sink for one reader."""

    def __init__(self, reports: asyncio.Queue[OomReport]) -> None:
        self._reports = reports

    def emit(self, report: OomReport) -> None:
        self._reports.put_nowait(report)


def _pipeline(reports: asyncio.Queue[OomReport], symbols: KernelSymbols) -> Pipeline:
    attributor = Attributor(
        boot_id=facts.boot_id(),
        node=os.uname().nodename,
        symbols=symbols,
        memory_nodes=facts.memory_nodes(),
    )
    return Pipeline(attributor, (_Queue(reports),))


async def _kill(cgroup: Path) -> int:
    """The process id of the victim, once it is dead. Raises SelftestError if it was not killed."""
    with subprocess.Popen(  # noqa: ASYNC220 - a loop of our own, with nothing else on it
        [sys.executable, "-I", "-S", "-c", _VICTIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as victim:
        try:
            _move(victim.pid, cgroup)
            assert victim.stdin
            victim.stdin.write(b"g")
            victim.stdin.flush()
            await _dead(victim.pid)
        finally:
            victim.kill()
    if victim.returncode != -signal.SIGKILL:
        raise SelftestError(f"the victim was not killed by the kernel but ended with {victim.returncode}")
    return victim.pid


def _move(pid: int, cgroup: Path) -> None:
    try:
        (cgroup / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise SelftestError(
            f"cannot move the victim into {cgroup}: {errno_name(error.errno or 0)}",
            hint="run the self-test as root on the host itself",
        ) from error


async def _dead(pid: int) -> None:
    loop = asyncio.get_running_loop()
    dead = asyncio.Event()
    pidfd = os.pidfd_open(pid)
    loop.add_reader(pidfd, dead.set)
    try:
        await asyncio.wait_for(dead.wait(), DEADLINE_SECONDS)
    except TimeoutError:
        raise SelftestError(f"the victim was not killed within {DEADLINE_SECONDS:g} s") from None
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def _report_of(cgroup: str, pid: int, reports: asyncio.Queue[OomReport]) -> OomReport:
    """The victim's report; other kills on this machine may come in between.

    It is known by its cgroup: the process id is another one where this is not the root pid namespace.
    """
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not ((report := await reports.get()).victim.cgroup or "").endswith(f"/{cgroup}"):
                pass
    except TimeoutError:
        raise SelftestError(
            f"process {pid} was killed, but no report came within {DEADLINE_SECONDS:g} s",
            hint="`oomtracer check` shows the hooks in use",
        ) from None
    return report


def _demand(report: OomReport, pid: int, cgroup: str, *, scope_known: bool, outcome_known: bool) -> None:
    limit = report.limit
    demands: dict[str, tuple[object, object]] = {
        "outcome": (report.outcome, Outcome.KILLED if outcome_known else Outcome.UNKNOWN),
        "victim.cgroup": ((report.victim.cgroup or "").endswith(cgroup), True),
        "victim.container_pid": (report.victim.container_pid, pid),
        "trigger.pid": (report.trigger.pid if report.trigger else None, report.victim.pid),
    }
    alone = [level.limit_bytes is not None for level in report.levels].count(True) == 1
    if scope_known:
        demands |= {
            "limit.certain": (limit is not None and (limit.certain or not alone), True),
            "scope": (report.scope, Scope.MEMCG),
            "limit.limit_bytes": (limit.limit_bytes if limit else None, LIMIT_BYTES),
        }
    wrong = [
        f"{key} is {found!r}, not {wanted!r}" for key, (found, wanted) in demands.items() if found != wanted
    ]
    if wrong:
        raise SelftestError(
            f"the report is wrong: {'; '.join(wrong)}", hint="please report it with `oomtracer check`"
        )


def as_json(result: SelftestResult) -> str:
    """One JSON object, one line."""
    return (
        json.dumps(
            {
                "passed": True,
                "scope_known": result.scope_known,
                "steps": [asdict(step) for step in result.steps],
            }
        )
        + "\n"
    )


def as_text(result: SelftestResult) -> str:
    """A line for each step, in milliseconds, and the verdict."""
    rows = [f"{step.name:<26}{step.seconds * 1000:8.1f} ms" for step in result.steps]
    rows.append("passed: the kernel killed a process and the report was right")
    if not result.scope_known:
        rows.append("not checked: scope and limit, since kernel symbols are hidden (`oomtracer check`)")
    return "\n".join((*rows, ""))

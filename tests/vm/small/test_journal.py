"""A machine of 256 MiB has no memory left, again and again, with an agent, its pins and its journal on it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.agent import run_oomtracer
from tests.kernel.conftest import MIB
from tests.kernel.crashes import CrashingAgent
from tests.kernel.test_storm import kernel_kills
from tests.kernel.waiting import wait_until
from tests.vm.scenarios.test_global import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.conftest import Cgroup, CgroupMaker, Grow
    from tests.kernel.kernel_log import KernelLog

# As a process is that nobody protects, and as the shipped unit starts the agent.
ORDINARY, AS_THE_UNIT = ("choom", "-n", "0", "--"), ("choom", "-n", "-999", "--")
HOGS, SMALL_BYTES = 3, 6 * MIB
BYSTANDERS, BYSTANDER_BYTES = 8, MIB
TRACING, SLOWLY_SECONDS = "kernel log: ", 120


def test_no_kill_is_lost_where_no_memory_is_left(
    directory: Path, pin_path: Path, make_cgroup: CgroupMaker, grow: Grow, kernel_log: KernelLog
) -> None:
    """Hogs and a crowd, with an agent, without one after its kill -9, and with the next: each kill is kept once."""
    cgroup, before = make_cgroup("/oomtracer-test"), kernel_kills()
    first = CrashingAgent(directory, pin_path, "--ring-size=1MiB", prefix=ORDINARY)
    process = start(first)
    with bystanders(cgroup, grow):
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "-999"
        assert locked_kib(process.pid) > 0
        for _ in range(HOGS):
            exhaust(cgroup, grow)
        with crowd(cgroup, grow) as kill:
            kill(5)
            assert process.poll() is None
            process.kill()
            process.wait()
            kill(5)
        # Not among them: a process that has to start has no memory for its files, and the kernel makes none for it.
        second = CrashingAgent(directory, pin_path, "--ring-size=1MiB", prefix=AS_THE_UNIT)
        process = start(second)
        with crowd(cgroup, grow) as kill:
            kill(5)
        exhaust(cgroup, grow)
    killed = Counter(kernel_log.new_pids())
    assert kernel_kills() - before == killed.total() >= HOGS + 15 + 1
    assert process.poll() is None
    wait_for_all(second, killed)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SLOWLY_SECONDS) == 0, second.log.read_text()[-2000:]
    assert_kept(second, killed)


def wait_for_all(agent: CrashingAgent, killed: Counter[int]) -> None:
    """Wait until these are in the journal, and tell what is not."""
    missing = killed

    def are_there() -> bool:
        nonlocal missing
        missing = killed - Counter(report["victim"]["pid"] for report in agent.history())
        return not missing

    try:
        wait_until(are_there, "all in the journal", 60)
    except AssertionError as error:
        raise AssertionError(f"not in the journal: {missing}; {agent.log.read_text()[-3000:]}") from error


def assert_kept(agent: CrashingAgent, killed: Counter[int]) -> None:
    """Exactly these are in the journal and on standard output, the audit agrees, and SQLite finds no fault."""
    kept = [report for report in agent.history() if report["outcome"] == "killed"]
    assert Counter(report["victim"]["pid"] for report in kept) == killed
    assert {report["id"] for report in agent.told()} >= {report["id"] for report in kept}
    assert len({report["id"] for report in kept}) == len(kept)
    assert {(report["scope"], report["limit"], report["sysrq"]) for report in kept} == {
        ("global", None, False)
    }
    log = agent.log.read_text()
    assert "lost: none" in log.splitlines()[-1]
    assert "set aside" not in log
    audit = run_oomtracer(
        "history", "--output", "table", "--state-dir", str(agent.state)
    ).stdout.splitlines()[-1]
    number = killed.total()
    assert f"{number} kills counted by the kernel, {number} reported" in audit
    assert audit.endswith("none lost")
    with closing(sqlite3.connect(agent.state / "journal.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def start(agent: CrashingAgent) -> subprocess.Popen[bytes]:
    """Start it, and wait until it traces and has read the kernel's log."""
    said = agent.log.stat().st_size if agent.log.exists() else 0
    process = agent.start()

    def traces() -> bool:
        assert process.poll() is None, agent.log.read_text()[-2000:]
        return TRACING in agent.log.read_text()[said:]

    wait_until(traces, "it traces", SLOWLY_SECONDS)
    return process


def locked_kib(pid: int) -> int:
    """How much of a process's memory stays whatever happens."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmLck:"))


@contextmanager
def bystanders(cgroup: Cgroup, grow: Grow) -> Iterator[None]:
    """Others that can be killed, as any host has: until a victim's memory is free, the next one in order is taken."""
    with ExitStack() as stack:
        for _ in range(BYSTANDERS):
            one = stack.enter_context(grow.start(cgroup, "hold", BYSTANDER_BYTES, "0"))
            stack.callback(one.kill)
            assert one.stdout
            assert one.stdout.readline() == "holding\n"
        yield


def exhaust(cgroup: Cgroup, grow: Grow) -> None:
    """One process takes everything until it is killed."""
    with grow.start(cgroup, "hold", EVERYTHING, "0") as hog:
        assert hog.wait(SLOWLY_SECONDS) == -signal.SIGKILL


@contextmanager
def crowd(cgroup: Cgroup, grow: Grow) -> Iterator[Callable[[int], None]]:
    """Small ones that hold what there is; what is given makes so many kills more among them."""
    with ExitStack() as stack:

        def kill(count: int) -> None:
            wanted = kernel_kills() + count
            while kernel_kills() < wanted:
                one = stack.enter_context(grow.start(cgroup, "hold", SMALL_BYTES, "0"))
                stack.callback(one.kill)
                assert one.stdout
                one.stdout.readline()  # it holds all of it, or is killed itself

        yield kill

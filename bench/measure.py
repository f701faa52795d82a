"""The measurements, one function for each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from agent import DEADLINE_SECONDS, Agent, BenchError, boot_time_ns
from kills import Victims, kernel_kills
from process import cpu_seconds, memory, switches
from results import Idle, Mode, Results, Starts, Storm

from oomtracer.config import DEFAULT_RING_SIZE_BYTES
from oomtracer.tracer import record_bytes

if TYPE_CHECKING:
    from context import Context
    from plan import Plan
    from process import Memory

METRICS = ("--metrics-bind-address", "127.0.0.1:0")
# Between paced kills: what the one before left to do is done.
PAUSE_SECONDS = 0.01
# Of the kills that fit the ring while nobody reads: beyond half of it, one cgroup has only a share.
BACKLOG_PERCENT = 45


def measure(plan: Plan, context: Context, victims: Victims) -> Results:
    """Everything, in turn."""
    context.say("starts of the bare interpreter")
    _bare_start(context.environment)  # writes the bytecode
    bare_starts = [_bare_start(context.environment) for _ in range(plan.starts)]
    bare_memory = _bare_memory(plan, context.environment)
    with context.alone():
        host = _mode(plan, context, victims, "host mode")
    with context.alone():
        metrics = _mode(plan, context, victims, "with metrics", *METRICS)
    return Results(
        bare_start_seconds=bare_starts,
        bare_memory=bare_memory,
        ring_size_bytes=DEFAULT_RING_SIZE_BYTES,
        host=host,
        metrics=metrics,
    )


def _mode(plan: Plan, context: Context, victims: Victims, name: str, *flags: str) -> Mode:
    context.say(f"{name}: starts")
    starts = _starts(plan, context.environment, *flags)
    with Agent(context.environment, *flags) as agent:
        start_memory = settled_memory(agent, plan.settle_seconds)
        context.say(f"{name}: idle")
        rest = idle(agent, plan.idle_seconds)
        context.say(f"{name}: {plan.paced_kills} paced kills")
        latency = [_paced_kill(agent, victims) for _ in range(plan.paced_kills)]
        context.say(f"{name}: two storms of {plan.storm_kills} kills")
        storm = _storm(plan, agent, victims)
        # What is remembered of the last kills, and no more, has filled up.
        warm_memory = settled_memory(agent, plan.settle_seconds)
        _storm(plan, agent, victims)
        storm_memory = settled_memory(agent, plan.settle_seconds)
        context.say(f"{name}: a backlog")
        backlog = _backlog(agent, victims)
        agent.stop()
    return Mode(
        starts=starts,
        idle=rest,
        start_memory=start_memory,
        warm_memory=warm_memory,
        storm_memory=storm_memory,
        latency_ns=latency,
        storm=storm,
        backlog_reports_per_second=backlog,
    )


def _bare_start(environment: dict[str, str]) -> float:
    start = boot_time_ns()
    subprocess.run([sys.executable, "-c", "pass"], env=environment, check=True)
    return (boot_time_ns() - start) / 1e9


def _bare_memory(plan: Plan, environment: dict[str, str]) -> Memory:
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, env=environment) as process:
        time.sleep(plan.settle_seconds)
        return memory(process.pid)


def _starts(plan: Plan, environment: dict[str, str], *flags: str) -> Starts:
    attached, tracing = [], []
    for number in range(plan.starts + 1):
        with Agent(environment, *flags) as agent:
            if number > 0:  # the first one writes the bytecode
                attached.append(agent.attached_seconds)
                tracing.append(agent.tracing_seconds)
            agent.stop()
    return Starts(attached_seconds=attached, tracing_seconds=tracing)


def settled_memory(agent: Agent, seconds: float) -> Memory:
    """The agent's memory after a scrape and so much rest."""
    agent.scrape()
    time.sleep(seconds)
    return memory(agent.pid)


def idle(agent: Agent, seconds: float) -> Idle:
    """What an agent does while there is nothing to do."""
    before, cpu_before = switches(agent.pid), cpu_seconds(agent.pid)
    time.sleep(seconds)
    after, cpu_after = switches(agent.pid), cpu_seconds(agent.pid)
    return Idle(
        seconds=seconds,
        cpu_seconds=cpu_after - cpu_before,
        voluntary_switches=after.voluntary - before.voluntary,
        involuntary_switches=after.involuntary - before.involuntary,
        threads=after.threads,
    )


def _latency_ns(read_at: int, line: bytes) -> int:
    """From the kernel's mark, by the record, to the read of its report."""
    return read_at - int(json.loads(line)["boot_time_ns"])


def _paced_kill(agent: Agent, victims: Victims) -> int:
    time.sleep(PAUSE_SECONDS)
    with victims.one() as victim:
        [(read_at, line)] = agent.reports.take(1)
        victim.wait(DEADLINE_SECONDS)
    if json.loads(line)["victim"]["pid"] != victim.pid:
        raise BenchError("a kill that this program did not make came in between: run it again")
    return _latency_ns(read_at, line)


def _storm(plan: Plan, agent: Agent, victims: Victims) -> Storm:
    kills = plan.storm_kills
    kernel, cpu = kernel_kills(), cpu_seconds(agent.pid)
    with victims.storm(kills):
        reports = agent.reports.take(kills)
    cpu = cpu_seconds(agent.pid) - cpu
    made = sorted(int(json.loads(line)["boot_time_ns"]) for _, line in reports)
    return Storm(
        kills=kills,
        lost=kernel_kills() - kernel - len(reports),
        kills_per_second=_per_second(made),
        reports_per_second=_per_second([read_at for read_at, _ in reports]),
        cpu_seconds_per_kill=cpu / kills,
        latency_ns=[_latency_ns(read_at, line) for read_at, line in reports],
    )


def _per_second(times_ns: list[int]) -> float:
    return (len(times_ns) - 1) * 1e9 / max(times_ns[-1] - times_ns[0], 1)


def _backlog(agent: Agent, victims: Victims) -> float:
    """Reports per second of an agent that finds its ring well filled: what it can do at most."""
    kills = DEFAULT_RING_SIZE_BYTES // record_bytes() * BACKLOG_PERCENT // 100
    with ExitStack() as stack:
        agent.process.send_signal(signal.SIGSTOP)
        stack.callback(agent.process.send_signal, signal.SIGCONT)
        with victims.storm(kills):
            pass
    start = boot_time_ns()
    reports = agent.reports.take(kills)
    return kills * 1e9 / (reports[-1][0] - start)

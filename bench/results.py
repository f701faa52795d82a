"""What was measured: plain data, written as it is with ``--json``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from process import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Seconds from the start of the process, a number for each start."""

    attached_seconds: list[float]
    tracing_seconds: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A while with nothing to do."""

    seconds: float
    cpu_seconds: float
    voluntary_switches: int
    involuntary_switches: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Many kills. ``lost``: kills that the kernel counted and nobody reported."""

    kills: int
    lost: int
    kills_per_second: float
    reports_per_second: float
    cpu_seconds_per_kill: float
    latency_ns: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way to run the agent. ``warm_memory``: after the paced kills and a storm, before another."""

    starts: Starts
    idle: Idle
    start_memory: Memory
    warm_memory: Memory
    storm_memory: Memory
    latency_ns: list[int]
    storm: Storm
    backlog_reports_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All of it. ``bare``: the interpreter with nothing in it."""

    bare_start_seconds: list[float]
    bare_memory: Memory
    ring_size_bytes: int
    host: Mode
    metrics: Mode


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]

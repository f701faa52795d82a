"""How often each thing is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Numbers of runs."""

    starts: int
    paced_kills: int
    storm_kills: int
    idle_seconds: float
    settle_seconds: float
    """What a process is given to come to rest before its memory is read."""


FULL = Plan(starts=10, paced_kills=200, storm_kills=1000, idle_seconds=5, settle_seconds=1)
QUICK = Plan(starts=2, paced_kills=20, storm_kills=100, idle_seconds=1, settle_seconds=0.2)

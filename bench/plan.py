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
    journal_batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """Numbers of pods, of kills, and how long things take, for the part with a cluster."""

    starts: int
    pods: int
    many_pods: int
    cluster_pods: int
    change_seconds: float
    foreign_change_seconds: float
    """Of pods on other nodes."""
    marks: int
    storm_marks: int
    storm_answer_seconds: float
    """What the server takes for each PATCH of the storm."""
    idle_seconds: float
    settle_seconds: float


FULL = Plan(
    starts=10, paced_kills=200, storm_kills=1000, idle_seconds=5, settle_seconds=1, journal_batches=300
)
QUICK = Plan(
    starts=2, paced_kills=20, storm_kills=100, idle_seconds=1, settle_seconds=0.2, journal_batches=20
)
FULL_CLUSTER = ClusterPlan(
    starts=4,
    pods=110,
    many_pods=1000,
    cluster_pods=5000,
    change_seconds=30,
    foreign_change_seconds=5,
    marks=100,
    storm_marks=300,
    storm_answer_seconds=0.5,
    idle_seconds=5,
    settle_seconds=1,
)
QUICK_CLUSTER = ClusterPlan(
    starts=2,
    pods=12,
    many_pods=30,
    cluster_pods=60,
    change_seconds=0.5,
    foreign_change_seconds=0.5,
    marks=6,
    storm_marks=20,
    storm_answer_seconds=0.5,
    idle_seconds=0.5,
    settle_seconds=0.2,
)

"""What was measured with a cluster: plain data, written as it is with ``--json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process import Memory
    from results import Idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A fresh interpreter after an import."""

    modules: int
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Imports:
    """kubernetes_asyncio as it is imported here, and as it imports itself; ``aiohttp`` is a part of both."""

    aiohttp: Import
    lean: Import
    ordinary: Import


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A while in which pods changed. ``latest_seconds``: how late the server was at most with one of them."""

    count: int
    seconds: float
    latest_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An agent on a node of a cluster.

    ``synced_seconds`` from the start of the process to its first list, a number for each start, and
    ``peak_rss_bytes`` up to then; ``after_memory`` after the changes of pods: of this node, or where there are
    ``pods_elsewhere``, of those. ``foreign_requests`` asked for more than this node's pods.
    """

    pods: int
    pods_elsewhere: int
    pod_bytes: tuple[int, int]
    synced_seconds: list[float]
    peak_rss_bytes: int
    synced_memory: Memory
    changes: Changes
    after_memory: Memory
    foreign_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """An agent in a cluster, with one pod, and nothing to do."""

    memory: Memory
    idle: Idle


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkStorm:
    """Kills in as many pods at once, by pod in the order of the kills, and when each one's PATCH came.

    ``qps`` and ``burst`` are the agent's limit of writes; each PATCH was answered ``answer_seconds`` after it came.
    """

    qps: float
    burst: int
    answer_seconds: float
    killed_ns: list[int]
    marked_ns: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterResults:
    """All of it: a node as it is meant to be, one with more pods, and the former in a large cluster.

    Latencies are from the kernel's mark to the PATCH of single kills: on a connection that is there, on a ``new``
    one, and while pods change on a ``busy`` node with many.
    """

    imports: Imports
    quiet: Quiet
    usual: Node
    crowded: Node
    large: Node
    latency_ns: list[int]
    new_latency_ns: list[int]
    busy_latency_ns: list[int]
    storm: MarkStorm

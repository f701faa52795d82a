"""Whose limit was hit, seen from the victim's pod: what ``--mark-on`` must at least be for that kill.

An owner's name alone does not tell: the container above a pod (a node of kind, k3d, minikube) owns a limit that
moving the pod escapes from. Where the level stands on the victim's path decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from oomtracer.config import MarkOn
from oomtracer.events import Limit, LimitOwner, OomReport

OwnerOf: TypeAlias = Callable[[str], LimitOwner]
"""What the cgroup of a path stands for: ``cgroups.limit_owner``, a sibling that is handed in."""

_INCLUDED: Final = {
    MarkOn.NODE: frozenset({MarkOn.NODE}),
    MarkOn.POD: frozenset({MarkOn.NODE, MarkOn.POD}),
    MarkOn.ANY: frozenset(MarkOn),
}


def includes(mark_on: MarkOn, least: MarkOn) -> bool:
    """Whether ``mark_on`` marks for a kill that needs at least ``least``."""
    return least in _INCLUDED[mark_on]


def least_by_cgroup(report: OomReport, owner_of: OwnerOf) -> Mapping[str, MarkOn]:
    """For each cgroup on the path of a pod's victim, what ``--mark-on`` a hit of its limit needs.

    All levels that are a container's, from the leaf up, are taken to be inside the pod: at worst too many, which
    marks less. Empty where the pod is not on this path (cgroup v1, memory accounted further up).
    """
    owners = [owner_of(level.cgroup) for level in report.levels]
    inside = next((i for i, owner in enumerate(owners) if owner is not LimitOwner.CONTAINER), len(owners))
    pods = owners[inside : inside + 1].count(LimitOwner.POD)
    if not inside + pods:
        return {}
    above = len(owners) - inside - pods
    least = [MarkOn.ANY] * inside + [MarkOn.POD] * pods + [MarkOn.NODE] * above
    # From the root, so that of two levels that look the same the one nearer to the leaf counts.
    pairs = zip(reversed(report.levels), reversed(least), strict=True)
    return {level.cgroup: each for level, each in pairs}


def possible(report: OomReport, limit: Limit, least: Mapping[str, MarkOn]) -> frozenset[MarkOn]:
    """What a limit on the path needs: one value where it is certain, else those of all that were hit perhaps.

    That is any finite one, whether it holds the trigger or not. Where levels next to the leaf are missing (a path
    deeper than the record), it may be one of these, and they may be a container's.
    """
    hit = least[limit.cgroup]
    if limit.certain:
        return frozenset({hit})
    limited = [least[level.cgroup] for level in report.levels if level.limit_bytes is not None]
    missing = [] if report.levels[0].cgroup == report.victim.cgroup else [MarkOn.ANY]
    return frozenset({hit, *limited, *missing})

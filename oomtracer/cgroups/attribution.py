"""Path in, ``Workload`` or ``LimitOwner`` out."""

from __future__ import annotations

import re

from oomtracer.cgroups.names import is_static
from oomtracer.cgroups.place import Place, place_of
from oomtracer.cgroups.systemd import Units, units_of
from oomtracer.events import LimitOwner, Workload, WorkloadKind

_SELFTEST = re.compile(r"/oomtracer-selftest-[^/]+(?:/.*)?", re.DOTALL)


def workload_of(cgroup: str, unified: str | None = None) -> Workload:
    """Whose process it is: pod, else container, else systemd unit, else host. Never raises.

    ``cgroup`` is the path in the memory controller's hierarchy. ``unified``, the same process's cgroup v2
    path, is read only where it can add something: the first says no more than ``host``, or is an ancestor
    of it (systemd without memory accounting: ``/system.slice`` and ``/system.slice/sshd.service``).

    ``unit`` and ``slice`` are the system manager's for every kind: of a container in a scope that scope,
    of a kind node's pods the unit the node runs in. ``slice`` is the innermost slice above the unit; a
    process directly in a slice has that slice as its unit. ``None``: not in one. Names stay escaped.
    ``container_id`` is only the front of the id where the recorder cut the level's name.
    """
    levels = _levels(cgroup)
    workload = _workload(levels)
    if unified is None:
        return workload
    unified_levels = _levels(unified)
    refines = unified_levels[: len(levels)] == levels
    return _workload(unified_levels) if refines or workload.kind is WorkloadKind.HOST else workload


def limit_owner(cgroup: str) -> LimitOwner:
    """What the cgroup whose limit was hit stands for; everything inside a container is ``container``.

    Anything below a pod's own level is ``container``, recognised or not; a plain directory inside a unit
    is that ``unit``; one made by hand inside a slice is ``other``, as is the root.
    """
    levels = _levels(cgroup)
    if owner := place_of(levels).owner:
        return owner
    units = units_of(levels)
    if units.unit:
        return LimitOwner.UNIT
    return LimitOwner.SLICE if levels and len(levels) == len(units.slices) else LimitOwner.OTHER


def is_selftest(cgroup: str) -> bool:
    """Whether the path lies in a top-level ``oomtracer-selftest-<something>``.

    Top level alone counts: a pod can make such a name only inside its own cgroup.
    """
    return _SELFTEST.fullmatch(cgroup) is not None


def _levels(cgroup: str) -> tuple[str, ...]:
    # Seen from inside a cgroup namespace a path may begin with "..", which names no level.
    return tuple([name for name in cgroup.split("/") if name not in ("", ".", "..")])


def _workload(levels: tuple[str, ...]) -> Workload:
    place, units = place_of(levels), units_of(levels)
    if place.in_pod:
        return _contained(WorkloadKind.POD, place, units)
    if place.container_id:
        return _contained(WorkloadKind.CONTAINER, place, units)
    return _uncontained(units)


def _contained(kind: WorkloadKind, place: Place, units: Units) -> Workload:
    pod = kind is WorkloadKind.POD
    return Workload(
        kind=kind,
        pod_uid=place.pod_uid,
        container_id=place.container_id,
        runtime=place.runtime,
        static=is_static(place.pod_uid) if pod else None,
        unit=units.unit,
        slice=units.slices[-1] if units.slices else None,
        resolved=not pod,
    )


def _uncontained(units: Units) -> Workload:
    chain = units.chain
    if not chain:
        return Workload(kind=WorkloadKind.HOST)
    return Workload(kind=WorkloadKind.UNIT, unit=chain[-1], slice=chain[-2] if len(chain) > 1 else None)

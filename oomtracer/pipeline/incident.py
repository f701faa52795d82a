"""Which kills belong together: everything that one run of the kernel's OOM killer takes down."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from oomtracer.events import Group, Limit

if TYPE_CHECKING:
    from oomtracer.events import OomKill, Source

# Invocations cannot overlap (oom_lock), but their records may be read late: a few more than one.
_REMEMBERED = 64
# The kernel kills the next one at once, or after the lines it prints on a slow console. What comes later is of
# another invocation, whose first record was lost.
_MAX_PAUSE_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """What the kernel says of an invocation; only the record of its first victim has it."""

    source: Source
    constraint: int | None
    order: int | None
    gfp_mask: int | None

    @classmethod
    def of(cls, kill: OomKill) -> Self:
        """The part of a record that is about the whole invocation."""
        return cls(kill.source, kill.constraint, kill.order, kill.gfp_mask)


@dataclass(slots=True)
class Incident:
    """One invocation, told by its first victim."""

    id: str
    said: Said
    limit: Limit | None
    last_ns: int
    group_size: int = 0


class Incidents:
    """Remembers the last invocation of each trigger.

    Members of a group kill, and processes that share the victim's memory, follow in the same task at once.
    """

    def __init__(self) -> None:
        self._by_trigger: OrderedDict[int, Incident] = OrderedDict()

    def open(self, kill: OomKill, report_id: str, limit: Limit | None, *, group: bool) -> Incident:
        """A new invocation, whose first victim is ``report_id``."""
        size = 1 if group else 0
        incident = Incident(report_id, Said.of(kill), limit, kill.boot_time_ns, group_size=size)
        self._by_trigger[kill.trigger.tid] = incident
        self._by_trigger.move_to_end(kill.trigger.tid)
        while len(self._by_trigger) > _REMEMBERED:
            self._by_trigger.popitem(last=False)
        return incident

    def join(self, kill: OomKill) -> Incident | None:
        """The invocation that a further victim of this trigger belongs to; None if it was not seen."""
        incident = self._by_trigger.get(kill.trigger.tid)
        if incident is None or kill.boot_time_ns - incident.last_ns > _MAX_PAUSE_NS:
            return None
        incident.last_ns = kill.boot_time_ns
        return incident


def group_of(incident: Incident, *, member: bool) -> Group | None:
    """The victim's place in a group kill: the one the kernel chose is 0, members count from 1."""
    if member:
        incident.group_size = max(incident.group_size, 1) + 1
        return Group(id=incident.id, index=incident.group_size - 1)
    return Group(id=incident.id, index=0) if incident.group_size else None

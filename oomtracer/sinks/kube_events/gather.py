"""Several processes, one Event: the kills of one run of the OOM killer, per pod, until no more of them come."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from oomtracer.events import OomReport, Victim
from oomtracer.kube.event import Regarding
from oomtracer.pods import Pod

SETTLE_S = 0.5
"""So long after its last process an incident is taken to be complete."""
MAX_SETTLE_S = 3.0
"""And so long after its first in any case."""
MAX_OPEN = 256
MAX_REMEMBERED = 1024


@dataclass(slots=True, kw_only=True)
class Incident:
    """What one run of the OOM killer took from one pod, or from the node."""

    head: OomReport
    """The process that the kernel chose, where that is one of these; else the first."""
    subject: Regarding
    pod: Pod | None
    first_s: float
    last_s: float
    processes: int = 0
    resident_bytes: int | None = 0
    """Of all of them together, shared memory as often as it is shared; None where one's is not known."""
    containers: set[str | None] = field(default_factory=set)
    init_died: bool | None = None
    """Whether one was pid 1 of its container; None where that is not known of any."""
    report_ids: list[str] = field(default_factory=list)
    """Once it is complete: its reports that are in no other incident that is not."""

    @property
    def due_s(self) -> float:
        """When it is taken to be complete."""
        return min(self.last_s + SETTLE_S, self.first_s + MAX_SETTLE_S)

    @property
    def container(self) -> str | None:
        """The container that all of them were in, None where that is not one."""
        return next(iter(self.containers)) if len(self.containers) == 1 else None

    def add(self, report: OomReport, now_s: float) -> None:
        """Count one more process in."""
        if report.id == report.incident:
            self.head = report
        self.last_s = now_s
        self.report_ids.append(report.id)
        self.processes += 1
        self.containers.add(report.workload.container)
        self.init_died = _either(self.init_died, report.init_died)
        resident_bytes = _resident_bytes(report.victim)
        if self.resident_bytes is not None and resident_bytes is not None:
            self.resident_bytes += resident_bytes
        else:
            self.resident_bytes = None


class Gathering:
    """Incidents that are not complete yet. ``now_s`` is of a monotonic clock.

    What comes after an incident was told is late: an Event cannot be changed.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], Incident] = OrderedDict()
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._parts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def restore(self, told: Iterable[tuple[str, str]]) -> None:
        """Remember which incidents (and uids of their subjects) an earlier process told, the oldest first."""
        self._remember(told)

    def add(self, report: OomReport, subject: Regarding, pod: Pod | None, *, now_s: float) -> bool:
        """Take one killed process; False if its incident has been told already."""
        key = (report.incident, subject.uid)
        if key in self._told:
            return False
        incident = self._open.get(key)
        if incident is None:
            incident = Incident(head=report, subject=subject, pod=pod, first_s=now_s, last_s=now_s)
            self._open[key] = incident
        incident.add(report, now_s)
        self._parts[report.id] += 1
        return True

    def next_s(self) -> float | None:
        """When the next incident is complete; None without one."""
        if len(self._open) > MAX_OPEN:
            return 0.0
        return min([incident.due_s for incident in self._open.values()], default=None)

    def complete(self, now_s: float) -> list[Incident]:
        """Hand over what is complete by now, and the oldest where there are too many."""
        surplus = len(self._open) - MAX_OPEN
        taken = [
            key
            for index, (key, incident) in enumerate(self._open.items())
            if index < surplus or incident.due_s <= now_s
        ]
        self._remember(taken)
        return [self._completed(self._open.pop(key)) for key in taken]

    def _remember(self, told: Iterable[tuple[str, str]]) -> None:
        self._told.update(dict.fromkeys(told))
        while len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)

    def _completed(self, incident: Incident) -> Incident:
        self._parts.subtract(incident.report_ids)
        incident.report_ids = [each for each in incident.report_ids if not self._parts[each]]
        for each in incident.report_ids:
            del self._parts[each]
        return incident


def _either(one: bool | None, other: bool | None) -> bool | None:  # noqa: FBT001 - two of the same kind
    return one if other is None else (one or other)


def _resident_bytes(victim: Victim) -> int | None:
    sizes = (victim.anon_rss_bytes, victim.file_rss_bytes, victim.shmem_rss_bytes)
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None

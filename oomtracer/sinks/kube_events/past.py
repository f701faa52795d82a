"""What an earlier process has told, so that it is not told again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from oomtracer.deliveries import RememberedEvents, RememberedSeries, Told
from oomtracer.events import OomReport
from oomtracer.sinks.kube_events.gather import MAX_REMEMBERED
from oomtracer.sinks.kube_events.remembered import from_memory
from oomtracer.sinks.kube_events.series import Series

KILLS = "kills"
MARK = "mark"


class Past:
    """Marks that were told of, and reports that come from an earlier process."""

    def __init__(self) -> None:
        self._marks: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._resumed: set[str] = set()

    def restore(self, told: Iterable[Told]) -> None:
        """Take over what was told, the oldest first."""
        for each in told:
            if each.what == MARK:
                self.is_first_mark(each.incident, each.uid)

    def is_first_mark(self, incident: str, uid: str) -> bool:
        """Whether the mark of this object for this incident was not told of; from now on it is."""
        if (incident, uid) in self._marks:
            return False
        self._marks[incident, uid] = None
        if len(self._marks) > MAX_REMEMBERED:
            self._marks.popitem(last=False)
        return True

    def resume(self, report: OomReport) -> None:
        """Expect it: a part of what it tells may have been told."""
        self._resumed.add(report.id)

    def is_resumed(self, report: OomReport) -> bool:
        """Whether it comes from an earlier process."""
        return report.id in self._resumed

    def forget(self, report: OomReport) -> None:
        """It has come."""
        self._resumed.discard(report.id)


def series_of(remembered: RememberedEvents, *, now_s: float) -> tuple[list[Series], list[RememberedSeries]]:
    """The series of an earlier process, and those that this program does not understand."""
    series, unknown = [], []
    for each in remembered.series:
        known = from_memory(each, now_s=now_s)
        if known:
            series.append(known)
        else:
            unknown.append(each)
    return series, unknown

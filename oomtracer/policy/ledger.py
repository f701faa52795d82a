"""The marks made so far, as far as they hold back others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from oomtracer.config import Marking
from oomtracer.events import Owner
from oomtracer.policy.reason import Reason

# With the default budget this is four weeks of nothing but marks.
_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One pod marked for one incident, at ``at_s`` of a clock that never goes back."""

    incident: str
    pod_uid: str
    namespace: str
    owner: Owner | None
    at_s: float


class Ledger:
    """Says what a new mark would exceed.

    Remembers each mark for as long as it can hold back another one (``period_s`` of the budget, the cool-down,
    ``max_age_s``, after which no kill of its incident counts), in number bounded by the budget; and beyond that
    the newest 4,096. So a window is never forgotten. A pod's uid is, if the pod outlives 4,096 later marks on its
    node; then the key that it carries still holds (``annotation_exists``).
    """

    def __init__(self, marking: Marking) -> None:
        self._budget = marking.budget
        self._cooldown_s = marking.cooldown_s
        self._longest_s = max(marking.budget.period_s, marking.cooldown_s, marking.max_age_s)
        self._marks: OrderedDict[str, Mark] = OrderedDict()
        self._pod_uids: set[str] = set()

    def refusal(self, mark: Mark) -> Reason | None:
        """Why this mark must not be made; None: it may."""
        if mark.incident in self._marks:
            return Reason.INCIDENT_DECIDED
        if mark.pod_uid in self._pod_uids:
            return Reason.POD_DECIDED
        owner = (mark.namespace, mark.owner)
        if any((each.namespace, each.owner) == owner for each in self._since(self._cooldown_s, mark.at_s)):
            return Reason.OWNER_COOLING_DOWN
        if len(self._since(self._budget.period_s, mark.at_s)) >= self._budget.count:
            return Reason.BUDGET_SPENT
        return None

    def enter(self, mark: Mark) -> None:
        """Count a mark that was decided."""
        self._forget(mark.at_s)
        self._marks[mark.incident] = mark
        self._pod_uids.add(mark.pod_uid)

    def give_back(self, incident: str) -> None:
        """Undo ``enter``: as if that mark had never been decided. Nothing, if there is none."""
        mark = self._marks.pop(incident, None)
        if mark is not None:
            self._pod_uids.discard(mark.pod_uid)

    def _since(self, window_s: float, now_s: float) -> Sequence[Mark]:
        """The marks less than ``window_s`` ago; a time that is no number is in every window."""
        return list(takewhile(lambda mark: not now_s - mark.at_s >= window_s, reversed(self._marks.values())))

    def _forget(self, now_s: float) -> None:
        while len(self._marks) >= _REMEMBERED:
            oldest = next(iter(self._marks.values()))
            if not now_s - oldest.at_s >= self._longest_s:
                return
            self.give_back(oldest.incident)

"""Repeated kills as one Event that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from oomtracer.deliveries import Told
from oomtracer.kube.event import Event, Occurrences


class Key(NamedTuple):
    """Kills that are told as one series."""

    uid: str
    reason: str
    container: str | None
    cause: str | None
    """Which memory ran out."""
    init_died: bool | None
    is_chosen: bool | None
    """Whether the pod was chosen for a mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """What a series counts as one: an incident, or a mark."""

    told: Told
    time: str
    ago_s: float = 0.0
    report_ids: tuple[str, ...] = ()
    """Of its reports those that no other Event is owed for."""


@dataclass(slots=True, kw_only=True)
class Series:
    """One Event and how often it has happened. Seconds are of a monotonic clock."""

    key: Key
    event: Event
    occurrences: Occurrences
    last_s: float
    """When it happened last."""
    turn: int = 0
    """The place among those that wait."""
    told: int = 0
    """What the API server counts; 0: it has no such Event."""
    not_before_s: float = 0.0
    is_failing: bool = False
    is_paid: bool = False
    """Whether the token for the next write is taken."""

    @property
    def untold(self) -> int:
        """How many occurrences the API server does not know of."""
        return self.occurrences.count - self.told

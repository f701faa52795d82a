"""What is remembered of deliveries over a restart: plain rows, which sinks fill and the journal keeps."""

from __future__ import annotations

from dataclasses import dataclass

from oomtracer.events import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedMark:
    """A mark that was made, or sent and perhaps made: budget, cool-down and pod are spent either way."""

    incident: str
    pod_uid: str
    namespace: str
    owner: Owner | None
    reason: str
    """Policy's."""
    ago_s: float
    """Seconds since it was decided, never negative."""
    is_made: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedSeries:
    """One Event and how often it has happened; ``key`` and ``event`` are the sink's own JSON."""

    name: str
    """Of the Event: no two series have the same."""
    key: str
    event: str
    count: int
    last_time: str
    told: int
    """What the API server counts; 0: it has no such Event."""
    ago_s: float
    """Seconds since the last kill, never negative."""


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """That an incident is in a series of this object: it may not be counted again. ``what``: its kills, or its mark."""

    incident: str
    uid: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedEvents:
    """All that the Events' sink has to know at its start, both the oldest first."""

    series: tuple[RememberedSeries, ...] = ()
    told: tuple[Told, ...] = ()

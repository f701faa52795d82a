"""A series as plain values that outlive the process, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from oomtracer.deliveries import RememberedSeries
from oomtracer.kube.event import Event, Occurrences, Regarding
from oomtracer.sinks.kube_events.series import Key, Series


def to_remember(series: Series, *, now_s: float) -> RememberedSeries:
    """What the next process has to know of it."""
    return RememberedSeries(
        name=series.event.name,
        key=json.dumps(series.key),
        event=json.dumps(asdict(series.event)),
        count=series.occurrences.count,
        last_time=series.occurrences.last_time,
        told=series.told,
        ago_s=max(now_s - series.last_s, 0.0),
    )


def from_memory(remembered: RememberedSeries, *, now_s: float) -> Series | None:
    """The series of an earlier process; None where that was another program, which knew series of another kind."""
    try:
        return Series(
            key=Key(*json.loads(remembered.key)),
            event=_event(json.loads(remembered.event)),
            occurrences=Occurrences(remembered.count, remembered.last_time),
            last_s=now_s - remembered.ago_s,
            turn=0,
            told=remembered.told,
        )
    except (TypeError, ValueError, KeyError):
        return None


def _event(values: dict[str, Any]) -> Event:
    return Event(**values | {"regarding": Regarding(**values["regarding"])})

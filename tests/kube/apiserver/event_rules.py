"""What makes an Event of events.k8s.io/v1 invalid, in the server's words and order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .names import qualified_name_faults, subdomain_faults
from .state import Json
from .statuses import Cause, bad_request

MICRO_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{6})(Z|[+-]\d\d:\d\d)")
TIMES_OF = ("eventTime",), ("series", "lastObservedTime")
# field of the API, and the name that messages give it
IMMUTABLE = {
    "regarding": "involvedObject",
    "reason": "reason",
    "note": "message",
    "eventTime": "eventTime",
    "action": "action",
    "related": "related",
    "reportingController": "reportingController",
    "reportingInstance": "reportingInstance",
    "type": "type",
}
UNSET = {
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "deprecatedSource": "source",
}


def check_times(event: Json) -> None:
    """Raises RefusedError: 400, a time without exactly six decimals."""
    for *parents, field in TIMES_OF:
        holder = event
        for parent in parents:
            holder = holder.get(parent) or {}
        text = holder.get(field)
        if text is None or MICRO_TIME.fullmatch(text):
            continue
        rest = re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "", text)
        why = (
            f'parsing time "{text}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "{rest}" as ".000000"'
        )
        raise bad_request(f'Event in version "v1" cannot be handled as a Event: {why}')


def metadata_causes(name: str) -> Iterator[Cause]:
    """What is wrong with an Event's name."""
    for fault in subdomain_faults(name):
        yield _wrong("metadata.name", f'"{name}": {fault}')


def causes_of(event: Json) -> Iterator[Cause]:
    """What is wrong with an Event, new or patched."""
    if not event.get("eventTime"):
        yield Cause("FieldValueRequired", "eventTime", "Required value")
        return
    about = event.get("regarding", {}).get("namespace", "")
    namespace = event["metadata"]["namespace"]
    # stricter than the real server, which lets a namespaced mismatch pass: nobody would find such an Event
    if about != namespace and (about or namespace not in ("default", "kube-system")):
        yield _wrong("involvedObject.namespace", f'"{about}": does not match event.namespace')
    controller = event.get("reportingController", "")
    if not controller:
        yield Cause("FieldValueRequired", "reportingController", "Required value")
    for fault in qualified_name_faults(controller):
        yield _wrong("reportingController", f'"{controller}": {fault}')
    for field in ("reportingInstance", "action", "reason"):
        yield from _text_causes(event, field)
    if len(event.get("note", "").encode()) > 1024:
        yield _wrong("message", '"": can have at most 1024 characters')
    yield from _series_causes(event.get("series"))


def _text_causes(event: Json, field: str) -> Iterator[Cause]:
    if not event.get(field):
        yield Cause("FieldValueRequired", field, "Required value")
    elif len(event[field].encode()) > 128:
        yield _wrong(field, '"": can have at most 128 characters')


def _series_causes(series: Mapping[str, Any] | None) -> Iterator[Cause]:
    if series is None:
        return
    if series.get("count", 0) < 2:
        yield _wrong("series.count", '"": should be at least 2')
    if not series.get("lastObservedTime"):
        yield Cause("FieldValueRequired", "series.lastObservedTime", "Required value")


def creation_causes(event: Json) -> Iterator[Cause]:
    """What only a new Event may not have."""
    if event.get("type") not in ("Normal", "Warning"):
        yield _wrong("type", f'"": has invalid value: {event.get("type", "")}')
    for field, told in UNSET.items():
        if event.get(field):
            yield _wrong(told, '"": needs to be unset')


def update_causes(old: Json, new: Json) -> Iterator[Cause]:
    """What may not change once an Event is made: all but its series."""
    for field, told in IMMUTABLE.items():
        if new.get(field) != old.get(field):
            yield _wrong(told, f'"{new.get(field, "")}": field is immutable')


def _wrong(field: str, what: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {what}")

"""Events of events.k8s.io/v1: created, made a series, and refused as the real server refuses them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from .event_rules import causes_of, check_times, creation_causes, metadata_causes, update_causes
from .exchange import EVENT, PARTIAL, Call, Reply, check_accept, decoded
from .managed import entry, owned
from .patch import check_identity, check_options, check_version, merge_of
from .policy import Policy, Review
from .state import Json, Store, timestamp
from .statuses import already_exists, bad_request, invalid, namespace_terminating, not_found

GROUP = "events.k8s.io"
# the order in which the real server writes them
ORDER = (
    "metadata",
    "eventTime",
    "series",
    "reportingController",
    "reportingInstance",
    "action",
    "reason",
    "regarding",
    "related",
    "note",
    "type",
    "deprecatedSource",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedCount",
)
CORE_ORDER = (
    *("metadata", "regarding", "reason", "note", "deprecatedSource", "deprecatedFirstTimestamp"),
    *("deprecatedLastTimestamp", "deprecatedCount", "type", "eventTime", "series", "action", "related"),
    *("reportingController", "reportingInstance"),
)
REFERENCE_ORDER = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
CORE_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}


def create_event(store: Store, policies: Iterable[Policy], call: Call) -> Reply:
    """The answer to the POST.

    Raises:
        RefusedError: 400, 403 (namespace, admission), 404, 409, 413, 422.
    """
    check_accept(call)
    check_options(call)
    event = decoded(call.body, what='Event in version "v1" cannot be handled as a Event')
    check_times(event)
    namespace = call.attempt.namespace
    metadata = event.setdefault("metadata", {})
    if metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    name = metadata.get("name") or f"{metadata.get('generateName', '')}{uuid.uuid4().hex[:5]}"
    metadata["name"] = name
    if namespace not in store.namespaces:
        raise not_found("namespaces", namespace)
    if namespace in store.terminating_namespaces:
        raise namespace_terminating("events", name, namespace, GROUP)
    causes = [*metadata_causes(name), *causes_of(event), *creation_causes(event)]
    if causes:
        raise invalid("Event", name, causes)
    _review(policies, call, None, event)
    if (namespace, name) in store.events:
        raise already_exists("events", name, GROUP)
    return Reply(201, _shown(call, _created(store, call, event)))


def patch_event(store: Store, policies: Iterable[Policy], call: Call) -> Reply:
    """The answer to the PATCH: only the series may change.

    Raises:
        RefusedError: 400, 403 (admission), 404, 409, 413, 415, 422.
    """
    check_accept(call)
    merged_by = merge_of(call)
    check_options(call)
    name, key = call.attempt.name, (call.attempt.namespace, call.attempt.name)
    old = store.events.get(key)
    if old is None:
        raise not_found("events", name, GROUP)
    new = merged_by(old, decoded(call.body, what="error decoding patch"))
    check_times(new)
    check_identity(call, new)
    check_version(new, old, "events", name, GROUP)
    causes = [*causes_of(new), *update_causes(old, new)]
    if causes:
        raise invalid("Event", name, causes)
    _review(policies, call, old, new)
    new["metadata"] = dict(old["metadata"])
    if new != old and not call.is_dry_run:
        new["metadata"]["managedFields"] = _managed(store, call, new)
        new["metadata"]["resourceVersion"] = str(store.next_version())
        new = store.events[key] = _ordered(new)
    return Reply(200, _shown(call, new))


def get_event(store: Store, call: Call) -> Reply:
    """The answer to the GET, in either API."""
    check_accept(call)
    event = store.events.get((call.attempt.namespace, call.attempt.name))
    if event is None:
        raise not_found("events", call.attempt.name, call.attempt.group)
    return Reply(200, _shown(call, event))


def as_core(event: Mapping[str, Any]) -> Json:
    """The same Event as core/v1 shows it, which is what ``kubectl describe`` reads."""
    return {CORE_NAMES.get(field, field): event[field] for field in CORE_ORDER if field in event}


def _review(policies: Iterable[Policy], call: Call, old: Json | None, new: Json) -> None:
    for policy in policies:
        policy.enforce(Review(call.user, "events", GROUP, new["metadata"]["name"], old, new))


def _created(store: Store, call: Call, event: Json) -> Json:
    now = timestamp(store.clock())
    metadata = {key: value for key, value in event["metadata"].items() if value}
    metadata |= {
        "uid": str(uuid.uuid4()),
        "resourceVersion": str(store.version + 1),
        "creationTimestamp": now,
    }
    always: Json = {"deprecatedSource": {}, "deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None}
    whole = always | {key: value for key, value in event.items() if key in ORDER} | {"metadata": metadata}
    metadata["managedFields"] = _managed(store, call, event)
    made = _ordered(whole)
    if not call.is_dry_run:
        store.next_version()
        store.events[call.attempt.namespace, metadata["name"]] = made
    return made


def _ordered(event: Json) -> Json:
    made = {key: event[key] for key in ORDER if key in event}
    for part in {"regarding", "related"} & made.keys():
        made[part] = {key: made[part][key] for key in REFERENCE_ORDER if key in made[part]}
    return made


def _managed(store: Store, call: Call, event: Json) -> list[Json]:
    fields = [key for key in event if key not in ("kind", "apiVersion", "metadata") and event[key]]
    return [entry(call.manager, timestamp(store.clock()), owned(fields, itself=False), version=f"{GROUP}/v1")]


def _shown(call: Call, event: Json) -> Json:
    if call.wants_partial:
        return PARTIAL | {"metadata": event["metadata"]}
    if call.attempt.group == GROUP:
        return EVENT | event
    return {"kind": "Event", "apiVersion": "v1"} | as_core(event)

"""PATCH of a pod: merge, the checks in the real server's order, and what is stored."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .exchange import POD, Call, Reply, check_accept, check_size, decoded, not_modelled, shown
from .managed import note_patch
from .merge import merge, strategic_merge
from .names import annotation_causes, label_causes
from .policy import Policy, Review
from .state import METADATA_ORDER, Json, Store, ordered, timestamp
from .statuses import Cause, RefusedError, bad_request, conflict, invalid, invalid_options, not_found

MERGES: Mapping[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": merge,
    "application/strategic-merge-patch+json": strategic_merge,
}
REAL_ONES_TOO = ("application/json-patch+json", "application/apply-patch+yaml")
MIRROR = "kubernetes.io/config.mirror"
METADATA_FIELDS = frozenset(METADATA_ORDER)
POD_FIELDS = frozenset(("kind", "apiVersion", "metadata", "spec", "status"))
SERVER_OWNED = (
    "name",
    "namespace",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "resourceVersion",
)
MUTABLE_SPEC = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)
GO_KINDS: Mapping[type, str] = {bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


def patch_pod(store: Store, policies: Iterable[Policy], call: Call) -> Reply:
    """The answer to the PATCH.

    Raises:
        RefusedError: 400, 403 (admission), 404, 409, 413, 415, 422, 500.
    """
    check_accept(call)
    merged_by = merge_of(call)
    check_options(call)
    check_size(call.body)
    name = call.attempt.name
    old = store.pods.get((call.attempt.namespace, name))
    if old is None:
        raise not_found("pods", name)
    patched = merged_by(POD | old, decoded(call.body, what="error decoding patch"))
    unknown = _check_shape(patched, strict=call.query.get("fieldValidation") == "Strict")
    check_identity(call, patched)
    check_version(patched, old, "pods", name)
    new = _kept_by_server(patched, old)
    causes = list(_causes(old, new))
    if causes:
        raise invalid("Pod", name, causes)
    for policy in policies:
        policy.enforce(Review(call.user, "pods", "", name, old, new))
    warnings = {"Warning": ", ".join(f"299 - {json.dumps(text)}" for text in unknown)} if unknown else {}
    return Reply(200, shown(call, _stored(store, call, old, new)), warnings)


def merge_of(call: Call) -> Callable[[Any, Any], Any]:
    """The function for the body's type. Raises RefusedError: 415."""
    content_type = call.headers.get("content-type", "").partition(";")[0].strip()
    if content_type in REAL_ONES_TOO:
        raise not_modelled(content_type)
    if content_type not in MERGES:
        raise RefusedError(415, "415: Unsupported Media Type", "UnsupportedMediaType", details={})
    return MERGES[content_type]


def check_options(call: Call) -> None:
    """Raises RefusedError: 422, a bad query parameter."""
    if len(call.query.get("fieldManager", "")) > 128:
        too_long = Cause("FieldValueTooLong", "fieldManager", "Too long: may not be more than 128 bytes")
        raise invalid_options("PatchOptions", too_long)
    if "force" in call.query:
        forbidden = "Forbidden: may not be specified for non-apply patch"
        raise invalid_options("PatchOptions", Cause("FieldValueForbidden", "force", forbidden))
    if call.query.get("dryRun", "All") != "All":
        raise not_modelled(f"dryRun={call.query['dryRun']}")


def check_identity(call: Call, patched: Json) -> None:
    """Raises RefusedError: 400, the body names another object than the path."""
    metadata = patched["metadata"]
    if metadata.get("name") != call.attempt.name:
        name, wanted = metadata.get("name", ""), call.attempt.name
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({wanted})")
    if metadata.get("namespace") != call.attempt.namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def check_version(patched: Json, old: Json, resource: str, name: str, group: str = "") -> None:
    """Raises RefusedError: 409 for a resourceVersion that is not the present one, 500 for none."""
    version = patched["metadata"].get("resourceVersion") or "0"
    if not version.isdecimal():
        raise RefusedError(500, f'strconv.ParseUint: parsing "{version}": invalid syntax')
    if int(version) not in (0, int(old["metadata"]["resourceVersion"])):
        raise conflict(resource, name, group)


def _check_shape(patched: Json, *, strict: bool) -> list[str]:
    """The unknown fields, to be warned of. Raises RefusedError: 422 with the whole object in its message."""
    metadata = patched.get("metadata") or {}
    for part in ("annotations", "labels"):
        for value in (metadata.get(part) or {}).values():
            if not isinstance(value, str):
                field = f"Go struct field ObjectMeta.metadata.{part} of type string"
                raise _misshapen(patched, f"json: cannot unmarshal {GO_KINDS[type(value)]} into {field}")
    if (patched["apiVersion"], patched["kind"]) != ("v1", "Pod"):
        kind = f"{patched['apiVersion'].rpartition('/')[2]}.{patched['kind']}"
        raise _misshapen(patched, f"converting ({kind}) to (core.Pod): unknown conversion")
    unknown = [f'unknown field "metadata.{key}"' for key in metadata if key not in METADATA_FIELDS]
    unknown += [f'unknown field "{key}"' for key in patched if key not in POD_FIELDS]
    if unknown and strict:
        raise _misshapen(patched, f"strict decoding error: {', '.join(unknown)}")
    return unknown


def _misshapen(patched: Json, why: str) -> RefusedError:
    echo = {key: patched[key] for key in sorted(patched)}
    echo["metadata"] = {key: echo["metadata"][key] for key in sorted(echo["metadata"])}
    text = json.dumps(json.dumps(echo, separators=(",", ":"), ensure_ascii=False), ensure_ascii=False)
    cause = {"reason": "FieldValueInvalid", "message": f"Invalid value: {text}: {why}", "field": "patch"}
    message = f' "" is invalid: patch: {cause["message"]}'
    return RefusedError(422, message, "Invalid", details={"causes": [cause]})


def _kept_by_server(patched: Json, old: Json) -> Json:
    """The patched pod without what a client cannot set here."""
    metadata = {key: value for key, value in patched["metadata"].items() if key in METADATA_FIELDS}
    for key in SERVER_OWNED:
        metadata.pop(key, None)
        if key in old["metadata"]:
            metadata[key] = old["metadata"][key]
    metadata["uid"] = metadata.get("uid") or old["metadata"]["uid"]
    for part in ("annotations", "labels", "finalizers", "ownerReferences"):
        if not metadata.get(part):
            metadata.pop(part, None)
    return {"metadata": ordered(metadata), "spec": patched["spec"], "status": old["status"]}


def _causes(old: Json, new: Json) -> Iterator[Cause]:
    # the doubled and fourfold causes are the real server's: several validations look at the same field
    before, after = old["metadata"], new["metadata"]
    if after["uid"] != before["uid"]:
        yield from [
            Cause("FieldValueInvalid", "metadata.uid", f'Invalid value: "{after["uid"]}": field is immutable')
        ] * 2
    for cause in annotation_causes(after.get("annotations", {})):
        yield from [cause] * 4
    yield from label_causes(after.get("labels", {}))
    was, now = (thing.get("annotations", {}).get(MIRROR) for thing in (before, after))
    if was != now:
        what = (
            "may not add mirror pod annotation"
            if was is None
            else "may not remove or update mirror pod annotation"
        )
        yield Cause("FieldValueForbidden", f"metadata.annotations[{MIRROR}]", f"Forbidden: {what}")
    if _fixed(old["spec"], old["spec"]) != _fixed(new["spec"], old["spec"]):
        yield Cause(
            "FieldValueForbidden", "spec", f"Forbidden: {MUTABLE_SPEC}@@ (the difference is not modelled)"
        )


def _fixed(spec: Json, model: Json) -> Json:
    """The part of the spec that may not change."""
    fixed = copy.deepcopy(spec)
    for part in ("containers", "initContainers"):
        for container in fixed.get(part, []):
            container.pop("image", None)
    for part in ("activeDeadlineSeconds", "tolerations"):
        fixed.pop(part, None)
    if model.get("terminationGracePeriodSeconds", 0) < 0:
        fixed.pop("terminationGracePeriodSeconds", None)
    return fixed


def _stored(store: Store, call: Call, old: Json, new: Json) -> Json:
    if new == old:
        return old
    changed = {part: _changed_keys(old, new, part) for part in ("annotations", "labels")}
    new["metadata"] = dict(new["metadata"])
    note_patch(
        new["metadata"],
        call.manager,
        timestamp(store.clock()),
        {p: keys for p, keys in changed.items() if keys},
    )
    return new if call.is_dry_run else store.put(new)


def _changed_keys(old: Json, new: Json, part: str) -> list[str]:
    was, now = (thing["metadata"].get(part, {}) for thing in (old, new))
    return [key for key, value in now.items() if was.get(key) != value]

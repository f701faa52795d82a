"""LIST of pods: from the cache or consistent, whole or in pages, and what is wrong with a query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .exchange import PARTIAL, Call, Reply, check_accept
from .selectors import selector_of
from .state import Json, Key, Store, key_of
from .statuses import Cause, RefusedError, bad_request, expired, invalid_options, version_too_large

TOO_OLD = "The resourceVersion for the provided list is too old."
TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
MATCH = "resourceVersionMatch"


async def list_pods(store: Store, call: Call, wait: Callable[[], Awaitable[None]]) -> Reply:
    """The answer to the LIST. ``wait`` passes the time that the server waits for a future resourceVersion.

    Raises:
        RefusedError: 400, 406, 410, 422, 504.
    """
    check_accept(call)
    selector = selector_of(call.attempt.namespace, call.query)
    asked = call.query.get("resourceVersion", "")
    version = version_of(asked, "invalid resource version: ", code=400)
    if MATCH in call.query and not asked:
        raise invalid_options(
            "ListOptions", forbidden(f"{MATCH} is forbidden unless resourceVersion is provided")
        )
    limit = 0 if asked == "0" else int(call.query.get("limit", "0"))
    at, start = _start(store, call, asked)
    if version > store.version:
        await wait()
        raise version_too_large(version, store.version)
    if at is None and call.query.get(MATCH) == "Exact":
        at = version
    if at is not None and at < store.oldest:
        raise expired(TOO_OLD)
    at = store.version if at is None else at
    found = [pod for pod in _sorted(store.pods_at(at)) if selector.matches(pod) and key_of(pod) > start]
    page = found[:limit] if limit else found
    metadata: Json = {"resourceVersion": str(at)}
    if len(page) < len(found):
        metadata["continue"] = continue_token(at, "/" + "/".join(key_of(page[-1])))
        if selector.is_empty:
            metadata["remainingItemCount"] = len(found) - len(page)
    return Reply(200, _shown(call, metadata, page))


def version_of(text: str, prefix: str, *, code: int) -> int:
    """A resourceVersion in a query; none is 0. Raises RefusedError with ``code``."""
    if not text or text.isdecimal():
        return int(text or "0")
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise RefusedError(code, prefix + why, "BadRequest" if code == 400 else "")


def forbidden(why: str) -> Cause:
    """Why resourceVersionMatch may not be used so."""
    return Cause("FieldValueForbidden", MATCH, f"Forbidden: {why}")


def continue_token(version: int, start: str) -> str:
    """The token after the object with key ``start``."""
    token = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{start}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _start(store: Store, call: Call, asked: str) -> tuple[int | None, Key]:
    """The version and the key that a continue token says; None and the beginning without one."""
    token = call.query.get("continue", "")
    if not token:
        return None, ("", "")
    if asked not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    version, start = _token_parts(token)
    if version == -1:
        return None, start
    if version < store.oldest:
        again = continue_token(-1, "/".join(start))
        raise expired(TOO_OLD_CONTINUE, {"continue": again})
    return version, start


def _token_parts(token: str) -> tuple[int, Key]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error as error:
        raise _bad_token("illegal base64 data") from error
    try:
        parts = json.loads(raw)
        namespace, _, name = parts["start"].rstrip("\0").lstrip("/").partition("/")
        return int(parts["rv"]), (namespace, name)
    except (ValueError, TypeError, KeyError) as error:
        raise _bad_token(f"invalid character '\\u{raw[0]:04x}' looking for beginning of value") from error


def _bad_token(why: str) -> RefusedError:
    return bad_request(f"invalid continue token: continue key is not valid: {why}")


def _sorted(pods: Mapping[Key, Json]) -> list[Json]:
    return [pods[key] for key in sorted(pods)]


def _shown(call: Call, metadata: Json, pods: list[Json]) -> dict[str, Any]:
    if call.wants_partial:
        kind: Json = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        items: list[Any] = [PARTIAL | {"metadata": pod["metadata"]} for pod in pods]
    else:
        kind, items = {"kind": "PodList", "apiVersion": "v1"}, pods
    return kind | {"metadata": metadata, "items": items}

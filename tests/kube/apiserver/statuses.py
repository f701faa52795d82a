"""Failures as the API server words them: Status objects, byte for byte where a recording shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFLICT = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of ``details.causes``; ``message`` is what follows ``field: `` in the Status message."""

    reason: str
    field: str
    message: str


class RefusedError(Exception):
    """A request that is answered with a failure Status."""

    def __init__(
        self,
        code: int,
        message: str,
        reason: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})
        self.body = status(code, message, reason, details=details, metadata=metadata)


def status(
    code: int,
    message: str,
    reason: str,
    *,
    details: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A failure Status; ``reason`` and ``details`` are left out where they are empty, as Go does."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": dict(metadata or {})}
    body |= {"status": "Failure", "message": message}
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = dict(details)
    return body | {"code": code}


def bad_request(message: str) -> RefusedError:
    """400."""
    return RefusedError(400, message, "BadRequest")


def unauthorized() -> RefusedError:
    """401: the token is unknown."""
    return RefusedError(401, "Unauthorized", "Unauthorized")


def qualified(resource: str, group: str) -> str:
    """The resource as messages name it: ``pods``, ``events.events.k8s.io``."""
    return f"{resource}.{group}" if group else resource


def details_of(name: str, group: str, kind: str) -> dict[str, Any]:
    """The beginning of ``details``: only what is not empty."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def not_found(resource: str, name: str, group: str = "") -> RefusedError:
    """404."""
    message = f'{qualified(resource, group)} "{name}" not found'
    return RefusedError(404, message, "NotFound", details=details_of(name, group, resource))


def already_exists(resource: str, name: str, group: str = "") -> RefusedError:
    """409 of a create."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return RefusedError(409, message, "AlreadyExists", details=details_of(name, group, resource))


def conflict(resource: str, name: str, group: str = "") -> RefusedError:
    """409 of an update from a stale resourceVersion."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {CONFLICT}'
    return RefusedError(409, message, "Conflict", details=details_of(name, group, resource))


def invalid(kind: str, name: str, causes: Sequence[Cause], *, group: str = "") -> RefusedError:
    """422: equal causes are all listed, but told once in the message."""
    told = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    message = f'{qualified(kind, group)} "{name}" is invalid: {text}'
    details = details_of(name, group, kind) | {"causes": listed}
    return RefusedError(422, message, "Invalid", details=details)


def invalid_options(kind: str, cause: Cause) -> RefusedError:
    """422 for a query parameter: ``kind`` is ``ListOptions`` or ``PatchOptions``."""
    return invalid(kind, "", [cause], group="meta.k8s.io")


def expired(message: str, metadata: Mapping[str, Any] | None = None) -> RefusedError:
    """410 of a LIST."""
    return RefusedError(410, message, "Expired", metadata=metadata)


def namespace_terminating(resource: str, name: str, namespace: str, group: str = "") -> RefusedError:
    """403 for a new object in a namespace that is being deleted."""
    because = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    return RefusedError(
        403,
        f'{qualified(resource, group)} "{name}" is forbidden: {because}',
        "Forbidden",
        details=details_of(name, group, resource) | {"causes": [cause]},
    )


def version_too_large(asked: int, current: int) -> RefusedError:
    """504 of a LIST from a resourceVersion that does not exist yet."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return RefusedError(
        504,
        f"Timeout: Too large resource version: {asked}, current: {current}",
        "Timeout",
        details={"causes": [cause], "retryAfterSeconds": 1},
        headers={"Retry-After": "1"},
    )

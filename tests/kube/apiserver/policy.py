"""ValidatingAdmissionPolicies, as the API server applies and words them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .access import User
from .statuses import RefusedError, details_of, qualified

CODES = {"Forbidden": 403, "Invalid": 422, "Unauthorized": 401, "RequestEntityTooLarge": 413}
Thing = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Review:
    """A change that is about to be stored: ``old`` is None for a new object."""

    user: User
    resource: str
    group: str
    name: str
    old: Thing | None
    new: Thing

    @property
    def node(self) -> str:
        """The node that the pod is on, as it is stored."""
        return str((self.old or self.new).get("spec", {}).get("nodeName", ""))


@dataclass(frozen=True, slots=True)
class Validation:
    """One expression. ``reason`` also decides the HTTP status."""

    holds: Callable[[Review], bool]
    message: str | Callable[[Review], str]
    reason: str = "Forbidden"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with a binding of the same name; ``accounts`` says whom it binds."""

    name: str
    resource: str
    group: str
    accounts: Callable[[User], bool]
    validations: tuple[Validation, ...]

    def enforce(self, review: Review) -> None:
        """Raises RefusedError: of several broken validations the first is told."""
        if (self.resource, self.group) != (review.resource, review.group) or not self.accounts(review.user):
            return
        for validation in self.validations:
            if not validation.holds(review):
                raise self._denied(review, validation)

    def _denied(self, review: Review, validation: Validation) -> RefusedError:
        message = validation.message if isinstance(validation.message, str) else validation.message(review)
        told = f"ValidatingAdmissionPolicy '{self.name}' with binding '{self.name}' denied request: {message}"
        what = qualified(review.resource, review.group)
        return RefusedError(
            CODES[validation.reason],
            f'{what} "{review.name}" is forbidden: {told}',
            validation.reason,
            details=details_of(review.name, review.group, review.resource) | {"causes": [{"message": told}]},
        )


def pod_policy(annotation_key: str, label_key: str = "", *, account: str = "oomtracer") -> Policy:
    """The policy for pods of the shipped manifests: own node, one annotation, one label."""
    return Policy(
        "oomtracer-pods",
        "pods",
        "",
        service_account(account),
        (
            Validation(on_own_node, "the pod is on another node than the token"),
            Validation(
                only_changes("annotations", annotation_key), "only the configured annotation may be changed"
            ),
            Validation(value_fits(annotation_key), "the value may hold at most 1024 characters"),
            Validation(only_changes("labels", label_key), "only the configured label may be changed"),
            Validation(
                keeps("spec", "finalizers", "ownerReferences"),
                "spec, finalizers and ownerReferences may not be changed",
            ),
        ),
    )


def event_policy(controller: str = "oomtracer/agent", *, account: str = "oomtracer") -> Policy:
    """The policy for Events of the shipped manifests: under the agent's own name and node."""

    def is_own(event: Thing, user: User) -> bool:
        said = event.get("reportingController"), event.get("reportingInstance")
        return bool(user.node) and said == (controller, user.node)

    return Policy(
        "oomtracer-events",
        "events",
        "events.k8s.io",
        service_account(account),
        (
            Validation(
                lambda review: is_own(review.new, review.user),
                "Events only under the agent's own name and node",
            ),
            Validation(
                lambda review: review.old is None or is_own(review.old, review.user), "only its own Events"
            ),
        ),
    )


def service_account(name: str) -> Callable[[User], bool]:
    """The service account of that name, in any namespace."""
    return lambda user: user.name.startswith("system:serviceaccount:") and user.name.endswith(f":{name}")


def on_own_node(review: Review) -> bool:
    """The token names a node, and the pod is on it."""
    return bool(review.user.node) and review.node == review.user.node


def only_changes(part: str, key: str) -> Callable[[Review], bool]:
    """Of ``annotations`` or ``labels``, nothing but ``key`` differs."""

    def others(thing: Thing | None) -> dict[str, str]:
        values = (thing or {}).get("metadata", {}).get(part, {})
        return {each: value for each, value in values.items() if each != key}

    return lambda review: others(review.old) == others(review.new)


def value_fits(key: str) -> Callable[[Review], bool]:
    """The annotation's value is not over 1024 characters."""
    return lambda review: len(review.new["metadata"].get("annotations", {}).get(key, "")) <= 1024


def keeps(*parts: str) -> Callable[[Review], bool]:
    """These are as they were: ``spec``, or fields of the metadata."""

    def of(thing: Thing | None, part: str) -> Any:
        return (thing or {}).get("spec") if part == "spec" else (thing or {}).get("metadata", {}).get(part)

    return lambda review: all(
        (of(review.old, part) or None) == (of(review.new, part) or None) for part in parts
    )

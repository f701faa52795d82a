"""Field and label selectors, as far as clients of pods use them: equality, joined by commas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .statuses import bad_request

TERM = re.compile(r"(?P<key>[^=!]+?)\s*(?P<operator>==|=|!=)\s*(?P<value>[^=!]*)")
LABEL_TERM = re.compile(r"!?(?P<key>[^=!\s]+)\s*(?:(?P<operator>==|=|!=)\s*(?P<value>[^=!]*))?")
FIELDS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.restartPolicy": ("spec", "restartPolicy"),
    "spec.schedulerName": ("spec", "schedulerName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.phase": ("status", "phase"),
    "status.podIP": ("status", "podIP"),
}


@dataclass(frozen=True, slots=True)
class Term:
    """``key = value``, or not; without a value (labels only): the key is there, or not."""

    key: str
    value: str | None
    wanted: bool

    def holds(self, value: str | None) -> bool:
        """Whether an object with this value fits; None is no value."""
        fits = value is not None if self.value is None else value == self.value
        return fits is self.wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """Which pods a request asks for."""

    namespace: str
    fields: tuple[Term, ...]
    labels: tuple[Term, ...]

    @property
    def is_empty(self) -> bool:
        """Whether neither fields nor labels are asked for; then a paged list counts what remains."""
        return not self.fields and not self.labels

    def matches(self, pod: Mapping[str, Any] | None) -> bool:
        """True if ``pod`` exists and is asked for."""
        if pod is None or self.namespace not in ("", pod["metadata"]["namespace"]):
            return False
        labels = pod["metadata"].get("labels", {})
        return all(term.holds(_field(pod, term.key)) for term in self.fields) and all(
            term.holds(labels.get(term.key)) for term in self.labels
        )


def selector_of(namespace: str, query: Mapping[str, str]) -> Selector:
    """Read the selectors of a query.

    Raises:
        RefusedError: 400, a field that pods cannot be selected by, or a set-based selector.
    """
    fields = _terms(query.get("fieldSelector", ""), TERM)
    for term in fields:
        if term.key not in FIELDS:
            raise bad_request(f"field label not supported: {term.key}")
    return Selector(namespace, fields, _terms(query.get("labelSelector", ""), LABEL_TERM))


def _terms(text: str, form: re.Pattern[str]) -> tuple[Term, ...]:
    terms = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = form.fullmatch(part)
        if not found:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        operator = found["operator"] or part[0]
        wanted = operator not in ("!=", "!")
        terms.append(Term(found["key"], found["value"] if found["operator"] else None, wanted))
    return tuple(terms)


def _field(pod: Mapping[str, Any], name: str) -> str:
    part, field = FIELDS[name]
    return str(pod.get(part, {}).get(field, ""))

"""Kubernetes' rules for names and keys, with the server's own words for what breaks them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .statuses import Cause

NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
LABEL_VALUE = f"({NAME})?"
ALPHANUMERIC = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with"
CONSIST = (
    f"{ALPHANUMERIC} an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
    f"regex used for validation is '{NAME}')"
)
BAD_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
)
BAD_LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    f"regex used for validation is '{LABEL_VALUE}')"
)
ANNOTATIONS_LIMIT_BYTES = 262_144


def subdomain_faults(name: str) -> Iterator[str]:
    """What keeps ``name`` from being a DNS subdomain."""
    if len(name) > 253:
        yield "must be no more than 253 bytes"
    if not re.fullmatch(SUBDOMAIN, name):
        yield BAD_SUBDOMAIN


def qualified_name_faults(key: str) -> Iterator[str]:
    """What keeps ``key`` from being a qualified name (``name`` or ``prefix/name``)."""
    *prefix, name = key.split("/")
    if len(prefix) > 1:
        yield f"a valid label key {CONSIST} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return
    if prefix == [""]:
        yield "prefix part must be non-empty"
    elif prefix:
        yield from (f"prefix part {fault}" for fault in subdomain_faults(prefix[0]))
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 bytes"
    if not re.fullmatch(NAME, name):
        yield f"name part {CONSIST}"


def annotation_causes(annotations: Mapping[str, str]) -> Iterator[Cause]:
    """What is wrong with a pod's annotations. Prefixes may be in upper case."""
    for key in sorted(annotations):
        for fault in qualified_name_faults(key.lower()):
            yield Cause("FieldValueInvalid", "metadata.annotations", f'Invalid value: "{key}": {fault}')
    if (
        sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
        > ANNOTATIONS_LIMIT_BYTES
    ):
        too_long = f"Too long: may not be more than {ANNOTATIONS_LIMIT_BYTES} bytes"
        yield Cause("FieldValueTooLong", "metadata.annotations", too_long)


def label_causes(labels: Mapping[str, str]) -> Iterator[Cause]:
    """What is wrong with a pod's labels."""
    for key, value in sorted(labels.items()):
        for fault in qualified_name_faults(key):
            yield Cause("FieldValueInvalid", "metadata.labels", f'Invalid value: "{key}": {fault}')
        for fault in _label_value_faults(value):
            yield Cause("FieldValueInvalid", "metadata.labels", f'Invalid value: "{value}": {fault}')


def _label_value_faults(value: str) -> Iterator[str]:
    if len(value) > 63:
        yield "must be no more than 63 bytes"
    if not re.fullmatch(LABEL_VALUE, value):
        yield BAD_LABEL_VALUE

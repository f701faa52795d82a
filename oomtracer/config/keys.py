"""Annotations and labels by Kubernetes' rules, so that a wrong one is told at the start and not by a 422.

Source: ``IsQualifiedName``, ``IsValidLabelValue`` and ``ValidateAnnotations`` of k8s.io/apimachinery. An annotation's key is
compared in lower case, so that upper-case prefixes pass; a label's is not.
"""

from __future__ import annotations

import re

from oomtracer.config.cluster import KeyValue
from oomtracer.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_MAX_NAME, _MAX_PREFIX, _MAX_LABEL_VALUE = 63, 253, 63
# What our admission policy lets through.
_MAX_ANNOTATION_VALUE = 1024
_REFUSED = {
    "descheduler.alpha.kubernetes.io/evict": "it evicts nothing by itself and takes every protection off the pod",
    "descheduler.alpha.kubernetes.io/prefer-no-eviction": "it keeps the descheduler away from the pod",
    "oomtracer/fence-probe": "it is what the agent tries out the admission policy with",
}
_RESERVED_PREFIX = "kubernetes.io/config."


def parse_annotation(text: str, *, flag: str) -> KeyValue:
    """``key=value`` as an annotation. Raises UsageError."""
    key, value = _split(text, flag=flag)
    check_key(key, flag=flag)
    _check_mark(key, flag=flag)
    if len(value) > _MAX_ANNOTATION_VALUE:
        raise _wrong(flag, f"the value has more than {_MAX_ANNOTATION_VALUE} characters")
    return KeyValue(key, value)


def parse_label(text: str, *, flag: str) -> KeyValue:
    """``key=value`` as a label, whose prefix is in lower case and whose value is short. Raises UsageError."""
    key, value = _split(text, flag=flag)
    check_key(key, flag=flag, prefix_in_lower_case=True)
    _check_mark(key, flag=flag)
    if value and (len(value) > _MAX_LABEL_VALUE or not _NAME.fullmatch(value)):
        raise _wrong(
            flag,
            f"{value[:100]!a} is no label value: at most {_MAX_LABEL_VALUE} letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends",
        )
    return KeyValue(key, value)


def check_key(
    key: str, *, flag: str, prefix_in_lower_case: bool = False, example: str = "example.com/key=value"
) -> None:
    """Raise UsageError for what the API server takes for no key."""
    prefix, slash, name = key.rpartition("/")
    if slash and not _is_prefix(prefix if prefix_in_lower_case else prefix.lower()):
        raise _wrong(flag, f"{prefix[:100]!a} is no DNS subdomain, as stands before the '/'", example)
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise _wrong(
            flag,
            f"{name[:100]!a} is no key: at most {_MAX_NAME} letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends",
            example,
        )


def _check_mark(key: str, *, flag: str) -> None:
    if reason := _REFUSED.get(key.lower()):
        raise _wrong(flag, f"{key} cannot be the mark: {reason}")
    if key.lower().startswith(_RESERVED_PREFIX):
        raise _wrong(flag, f"{key} is the kubelet's own")


def _is_prefix(prefix: str) -> bool:
    return len(prefix) <= _MAX_PREFIX and _PREFIX.fullmatch(prefix) is not None


def _split(text: str, *, flag: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise _wrong(flag, f"{text[:100]!a} has no '='")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(flag, "it is not UTF-8") from None
    return key.strip(), value.strip()


def _wrong(flag: str, what: str, example: str = "example.com/key=value") -> UsageError:
    return UsageError(f"{flag}: {what}", hint=f"write {flag}={example}")

"""Unit names for metrics.

A label's values must stay few, and nobody without root may choose them. What a person configured is kept
(``postgresql@15-main.service``); what a program or a connection made up is cut to ``*``.
"""

from __future__ import annotations

import re
from typing import Final

from oomtracer.events import CUT, Workload, WorkloadKind

# Scopes are always transient and named by their creator; a known one still tells what kind it is.
_SCOPES: Final = (
    "session",
    "run",
    "machine",
    "cri-containerd",
    "crio-conmon",
    "crio",
    "docker",
    "libpod-conmon",
    "libpod",
    "nerdctl",
)
_INSTANCE_IS_A_USER: Final = frozenset({"user", "user-runtime-dir", "capsule"})
# run-<anything> is systemd-run's; user-<uid>.slice is logind's.
_TRANSIENT = re.compile(r"(?P<kept>run-).+|(?P<user>user-)\d+(?:-.*)?")
_SEPARATOR: Final = r"(?:-|_|\\x2d)"
_GENERATED = re.compile(
    rf"[0-9a-f]{{8}}{_SEPARATOR}(?:[0-9a-f]{{4}}{_SEPARATOR}){{3}}[0-9a-f]{{12}}"  # a UUID
    r"|[0-9a-f]{12,}"  # a hash or an id
    r"|\d{6,}"  # a date, a time, a counter
    r"|:\d"  # a bus name (dbus-broker: dbus-:1.10-org.example@0.service)
)
# Accept=yes sockets, instance_from_socket() in src/core/socket.c: a counter, since v257 a cookie, then
# addresses with ports or "<pid>-<uid>" or "unknown".
_CONNECTION = re.compile(r"\d+-(?:\d[\d._]*-.+|unknown)|.*:.*")
_ESCAPED = re.compile(r"\\x(?P<code>[0-9a-fA-F]{2})")


def unit_label(workload: Workload) -> str | None:
    """The value of the metric label ``unit``: the unit's name with invented parts folded to ``*``.

    ``None`` where there is no unit, and for pods: nothing a pod controls may become a label. A container's
    unit counts, since ``docker-*.scope`` or a Quadlet's ``app.service`` is what its host manages.
    """
    if workload.unit is None or workload.kind is WorkloadKind.POD:
        return None
    return _folded(workload.unit)


def _folded(unit: str) -> str:
    stem, _, suffix = unit.rpartition(".")
    if unit.endswith(CUT):
        return "*"
    match suffix:
        case "scope":
            return _folded_scope(stem) + ".scope"
        case "mount" | "swap":
            # Named after their path, and paths below the kubelet's directory after pods and volumes.
            return "*." + suffix
        case _:
            return f"{_folded_stem(stem)}.{suffix}"


def _folded_scope(stem: str) -> str:
    if stem == "init":
        return stem
    return next((prefix + "-*" for prefix in _SCOPES if stem.startswith(prefix + "-")), "*")


def _folded_stem(stem: str) -> str:
    if match := _TRANSIENT.fullmatch(stem):
        return (match["kept"] or match["user"]) + "*"
    template, at, instance = stem.partition("@")
    template = _without_generated(template)
    if not at or template.endswith("*"):
        return template
    if template in _INSTANCE_IS_A_USER or _CONNECTION.fullmatch(instance):
        return template + "@*"
    return f"{template}@{_without_generated(instance)}"


def _without_generated(name: str) -> str:
    match = _GENERATED.search(name)
    return name[: match.start()] + "*" if match else name

"""Durations and rates as Go programs and systemd write them: ``15m``, ``1h30m``, ``1/10m``."""

from __future__ import annotations

import re

from oomtracer.config.cluster import Rate
from oomtracer.errors import UsageError

DEFAULT_STATE_MAX_AGE_S = 720 * 3600.0
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_MAX_DURATION_S = 366 * 86400.0
_RATE = re.compile(r"([0-9]{1,6}) ?/ ?(.+)", re.ASCII)


def parse_duration(text: str, *, flag: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h30m``, ``2d`` or ``0``, at most 366 days. Raises UsageError."""
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    if _DURATION.fullmatch(stripped):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, stripped))
        if seconds <= _MAX_DURATION_S:
            return seconds
    raise UsageError(
        f"{flag}: {text[:100]!a} is not a duration of at most 366 days",
        hint=f"write {flag}=15m, 90s or 1h30m",
    )


def parse_rate(text: str, *, flag: str) -> Rate:
    """``1/10m``: at most one in any ten minutes. Raises UsageError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{flag}: {text[:100]!a} is not a number of at least 1 and a duration",
            hint=f"write {flag}=1/10m: at most one in any ten minutes",
        )
    period_s = parse_duration(match[2], flag=flag)
    if period_s == 0:
        raise UsageError(f"{flag}: the duration is 0", hint=f"write {flag}=1/10m")
    return Rate(int(match[1]), period_s)

"""``oomtracer history``: the kills that an agent's journal holds, whether the agent runs or not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from oomtracer.config import parse_duration
from oomtracer.errors import UsageError
from oomtracer.events import OomReport, Scope, Source
from oomtracer.journal.reader import Reader, StoredReport, Wanted
from oomtracer.printable import printable, size
from oomtracer.sinks.audit_line import audit_line
from oomtracer.sinks.console import workload_name
from oomtracer.sinks.jsonl import json_line

logger = logging.getLogger("oomtracer.history")

Tell = Callable[[str], None]

_CHUNK = 256
_COLUMNS = ("TIME", "SCOPE", "VICTIM", "WORKLOAD", "LIMIT", "DECISION")
_MOST = 10**9


def history(directory: Path, wanted: Wanted, tell: Tell, *, as_json: bool) -> None:
    """Tell the reports that are wanted, the oldest first. Raises OomTracerError."""
    with Reader(directory) as reader:
        found = reader.reports(wanted)
        if as_json:
            _tell_lines(found, tell)
        else:
            tell(table(list(map(_cells, found))))
            if line := audit_line(reader):
                tell(f"{line}\n")
    if reader.unreadable:
        logger.warning("%d reports of the journal are of a newer oomtracer, or damaged", reader.unreadable)


def to_wanted(
    *, since: str, until: str, pod: str, unit: str, scope: Scope | None, limit: int | None
) -> Wanted:
    """Which reports the flags ask for. Raises UsageError."""
    if limit is not None and not 1 <= limit <= _MOST:
        raise UsageError(f"--limit: {limit} is not from 1 to {_MOST}", hint="write --limit=20")
    for flag, text in (("--pod", pod), ("--unit", unit)):
        if text.encode(errors="surrogateescape").decode(errors="replace") != text:
            raise UsageError(f"{flag}: {text[:100]!a} is not UTF-8", hint=f"write {flag}=NAME")
    since_us = parse_instant(since, flag="--since") if since.strip() else None
    until_us = parse_instant(until, flag="--until") if until.strip() else None
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise UsageError(
            f"--since: {since[:100]!a} is not before --until {until[:100]!a}",
            hint="durations count back from now: --since=3h --until=2h",
        )
    return Wanted(
        since_us=since_us,
        until_us=until_us,
        pod=pod or None,
        unit=unit or None,
        scope=scope,
        last=limit,
    )


def parse_instant(text: str, *, flag: str, clock: Callable[[], float] = time.time) -> int:
    """Unix microseconds of ``2h`` (before now), ``2026-03-01`` or ``2026-03-01T12:00:00Z``; without a zone UTC.

    Raises UsageError.
    """
    stripped = text.strip()
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        pass
    else:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _microseconds(aware)
    try:
        return int((clock() - parse_duration(stripped, flag=flag)) * 10**6)
    except UsageError:
        raise UsageError(
            f"{flag}: {text[:100]!a} is neither a time nor a duration",
            hint=f"write {flag}=2h, {flag}=2026-03-01 or {flag}=2026-03-01T12:00:00Z",
        ) from None


def table(rows: Sequence[Sequence[str]]) -> str:
    """The reports as a table, with their number and time in the last line."""
    if not rows:
        return "no kills\n"
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_COLUMNS, *rows)
    ]
    kills = "1 kill" if len(rows) == 1 else f"{len(rows)} kills"
    return "\n".join((*lines, "", f"{kills}, {rows[0][0]} to {rows[-1][0]}", ""))


def _tell_lines(found: Iterable[StoredReport], tell: Tell) -> None:
    chunk: list[str] = []
    for each in found:
        chunk.append(json_line(each.report).decode("ascii"))
        if len(chunk) == _CHUNK:
            tell("".join(chunk))
            chunk.clear()
    if chunk:
        tell("".join(chunk))


def _cells(stored: StoredReport) -> tuple[str, ...]:
    report = stored.report
    victim = f"{report.victim.comm} (pid {report.victim.pid})"
    tags = " [self-test]" if report.selftest else ""
    tags += " [from the kernel's log]" if report.source is Source.KMSG else ""
    return (
        printable(report.time),
        report.scope.value,
        printable(victim) + tags,
        printable(workload_name(report.workload)),
        _limit(report),
        printable(stored.decision) or "-",
    )


def _limit(report: OomReport) -> str:
    limit = report.limit
    if limit is None:
        return "-"
    likely = "" if limit.certain else " (likely)"
    return f"{limit.owner.value} {size(limit.limit_bytes)}{likely}"


def _microseconds(moment: datetime) -> int:
    return int(moment.replace(microsecond=0).timestamp()) * 10**6 + moment.microsecond

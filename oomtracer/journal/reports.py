"""Operations on reports: one row for each killed process."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag

from oomtracer.events import OomReport, Workload
from oomtracer.journal import records
from oomtracer.journal.report_json import ReportError, from_text, to_text

logger = logging.getLogger("oomtracer.journal")

_MAX_INTEGER = 2**63 - 1
_COLUMNS = (
    *("id", "boot_id", "boot_time_ns", "time_us", "source", "scope", "selftest", "decision", "pending"),
    *("share", "namespace", "pod", "pod_uid", "unit", "report"),
)
_INSERT = f"INSERT OR IGNORE INTO reports ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


class Delivery(IntFlag):
    """What a report can still be owed to."""

    NONE = 0
    STDOUT = 1
    MARK = 2
    EVENT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A report to be kept. ``pending``: the deliveries that it is owed to."""

    report: OomReport
    pending: Delivery = Delivery.NONE
    decision: str = ""
    """Why its pod was marked or not, in a snake_case word; empty: not decided."""


@dataclass(frozen=True, slots=True)
class PendingReport:
    """A report that is still owed to some deliveries."""

    report: OomReport
    pending: Delivery
    decision: str


def add(
    connection: sqlite3.Connection, rows: Sequence[ReportRow], done: Sequence[tuple[str, int]] = ()
) -> list[bool]:
    """Keep reports, and say that the raw records (ring, position) are done; False: that id was there, and stays."""
    added = [connection.execute(_INSERT, _values(row)).rowcount == 1 for row in rows]
    records.finish(connection, done)
    return added


def settle(connection: sqlite3.Connection, ids: Iterable[str], deliveries: Delivery) -> None:
    """Say that reports are no longer owed to these deliveries."""
    connection.executemany(
        "UPDATE reports SET pending = pending & ~? WHERE id = ?", [(int(deliveries), each) for each in ids]
    )


def decide(connection: sqlite3.Connection, report_id: str, decision: str) -> None:
    """Keep why its pod was marked or not."""
    connection.execute("UPDATE reports SET decision = ? WHERE id = ?", (decision, report_id))


def rename(connection: sqlite3.Connection, report: OomReport) -> None:
    """Keep a report whose pod became known after it was added; what it is owed to stays."""
    connection.execute(
        "UPDATE reports SET share = ?, namespace = ?, pod = ?, pod_uid = ?, unit = ?, report = ? WHERE id = ?",
        (*_workload_values(report), report.id),
    )


def owed(connection: sqlite3.Connection, deliveries: Delivery) -> list[PendingReport]:
    """Reports that are owed to one of these deliveries, in the order in which they were added.

    What cannot be read is owed to nobody any more.
    """
    rows = connection.execute(
        "SELECT id, report, pending, decision FROM reports WHERE pending != 0 AND pending & ? ORDER BY n",
        (int(deliveries),),
    )
    found, unreadable = [], []
    for report_id, text, pending, decision in rows.fetchall():
        try:
            found.append(PendingReport(from_text(text), Delivery(pending), decision))
        except ReportError as error:
            logger.error("a report of the journal was not delivered, it cannot be read: %s", error)  # noqa: TRY400
            unreadable.append(report_id)
    settle(connection, unreadable, ~Delivery.NONE)
    return found


def of_boot(connection: sqlite3.Connection, boot_id: str) -> list[tuple[str, int, int | None, str, int]]:
    """Of each report of a boot: id, process id, thread id, command, nanoseconds of the boot clock."""
    return _victims(connection, "boot_id = ?", boot_id)


def of_log(connection: sqlite3.Connection, boot_id: str) -> list[tuple[str, int, int | None, str, int]]:
    """The same of those that only the kernel's log told."""
    return _victims(connection, "boot_id = ? AND source = 'kmsg'", boot_id)


def _victims(
    connection: sqlite3.Connection, which: str, boot_id: str
) -> list[tuple[str, int, int | None, str, int]]:
    victim = [f"json_extract(report, '$.victim.{name}')" for name in ("pid", "tid", "comm")]
    return connection.execute(
        f"SELECT id, {', '.join(victim)}, boot_time_ns FROM reports WHERE {which} AND json_valid(report)",  # noqa: S608
        (boot_id,),
    ).fetchall()


def share_of(workload: Workload) -> str:
    """Whose part of the journal a report takes."""
    return workload.pod_uid or workload.container_id or workload.unit or workload.slice or "host"


def time_us(time: str) -> int:
    """Unix microseconds of a report's time; 0 where it is none."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 10**6 + moment.microsecond


def _values(row: ReportRow) -> tuple[object, ...]:
    report = row.report
    return (
        report.id,
        report.id.partition(":")[0],
        min(report.boot_time_ns, _MAX_INTEGER),
        time_us(report.time),
        report.source.value,
        report.scope.value,
        report.selftest,
        row.decision,
        int(row.pending),
        *_workload_values(report),
    )


def _workload_values(report: OomReport) -> tuple[object, ...]:
    workload = report.workload
    return (
        share_of(workload),
        workload.namespace,
        workload.pod,
        workload.pod_uid,
        workload.unit,
        to_text(report),
    )

"""Marks that outlive the process."""

from __future__ import annotations

import asyncio
from sqlite3 import Connection
from typing import Any

from oomtracer.deliveries import RememberedMark
from oomtracer.events import Owner
from oomtracer.journal.outbox import KIND, Outbox, keep_newest
from oomtracer.journal.reports import Delivery, decide, settle

MOST_MARKS = 4_096
PATIENCE_S = 1.0
"""What a mark waits for the disk."""


class MarkTable(Outbox):
    """The outbox of marks."""

    async def load(self) -> list[RememberedMark]:
        """The marks that were made or are in doubt, the oldest first."""
        columns = "incident, pod_uid, namespace, owner_kind, owner_name, reason, made, boot_id, boot_time_ns, time_us"
        rows = await self.submit(
            lambda each: each.execute(f"SELECT {columns} FROM marks ORDER BY n").fetchall(),  # noqa: S608
            kind=KIND,
            size_bytes=0,
        )
        marks = [self._remembered(*row) for row in rows]
        return sorted(marks, key=lambda mark: -mark.ago_s)

    def decided(self, report_id: str, decision: str) -> None:
        """A report that needs no mark (any more) has had its decision."""
        self.write(lambda each: _decide(each, report_id, decision))

    async def sending(self, mark: RememberedMark) -> None:
        """A mark is about to be sent for the first time; return once that is kept, or cannot be soon."""
        moment = self.moments.row(mark.ago_s)
        await asyncio.wait({self.write(lambda each: _send(each, mark, moment))}, timeout=PATIENCE_S)

    def ended(self, report_id: str, incident: str, decision: str, *, made: bool, in_doubt: bool) -> None:
        """A mark came to its end; one that was neither made nor is in doubt has spent nothing."""

        def end(connection: Connection) -> None:
            if made:
                connection.execute("UPDATE marks SET made = 1 WHERE incident = ?", (incident,))
            elif not in_doubt:
                connection.execute("DELETE FROM marks WHERE incident = ?", (incident,))
            _decide(connection, report_id, decision)

        self.write(end)

    def _remembered(  # noqa: PLR0913, PLR0917 - a row
        self,
        incident: str,
        pod_uid: str,
        namespace: str,
        owner_kind: str | None,
        owner_name: str | None,
        reason: str,
        made: int,
        *moment: Any,
    ) -> RememberedMark:
        return RememberedMark(
            incident=incident,
            pod_uid=pod_uid,
            namespace=namespace,
            owner=Owner(kind=owner_kind, name=owner_name) if owner_kind and owner_name else None,
            reason=reason,
            ago_s=self.moments.ago_s(*moment),
            is_made=bool(made),
        )


def _decide(connection: Connection, report_id: str, decision: str) -> None:
    decide(connection, report_id, decision)
    settle(connection, [report_id], Delivery.MARK)


def _send(connection: Connection, mark: RememberedMark, moment: tuple[str, int, int]) -> None:
    owner = (mark.owner.kind, mark.owner.name) if mark.owner else (None, None)
    connection.execute(
        "INSERT OR REPLACE INTO marks (incident, pod_uid, namespace, owner_kind, owner_name, reason, made, boot_id,"
        " boot_time_ns, time_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (mark.incident, mark.pod_uid, mark.namespace, *owner, mark.reason, mark.is_made, *moment),
    )
    keep_newest(connection, "marks", MOST_MARKS)

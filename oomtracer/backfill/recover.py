"""The kills of the log that nobody reported, as reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer.backfill.match import boot_time_ns, match, tolerance_ns
from oomtracer.backfill.report import log_id, report_of
from oomtracer.kernel.clock import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from oomtracer.backfill.match import KnownKill
    from oomtracer.backfill.parse import LoggedKill
    from oomtracer.backfill.reader import LogRead
    from oomtracer.events import OomReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What the log added, and what became of its other kills."""

    reports: tuple[OomReport, ...]
    """In the order of the log."""
    matched: int
    """Kills that were known."""
    later: int
    """Kills after the ring was attached: told, or counted as lost, by the ring."""


def recover(
    log: LogRead,
    known: Iterable[KnownKill],
    *,
    boot_id: str,
    node: str,
    before_boot_time_ns: int,
    wall_clock: Callable[[int], str] = wall_clock,
) -> Backfill:
    """The kills that are not ``known`` and could be from before ``before_boot_time_ns``.

    The log's times are not exact, so near that instant only ``known`` tells a kill from one that the ring has:
    attach first, then read the log, then empty the ring; then every kill of both is among ``known``.
    """
    found = match(log.kills, known, log.suspended_ns)
    reports = [
        report_of(
            kill,
            boot_id=boot_id,
            node=node,
            suspended_ns=log.suspended_ns,
            incident=incident,
            wall_clock=wall_clock,
        )
        for i, (kill, incident) in enumerate(zip(log.kills, _incidents(log, found, boot_id), strict=True))
        if i not in found and _may_be_before(kill, before_boot_time_ns, log.suspended_ns)
    ]
    return Backfill(
        reports=tuple(reports), matched=len(found), later=len(log.kills) - len(found) - len(reports)
    )


def _may_be_before(kill: LoggedKill, instant_ns: int, suspended_ns: int) -> bool:
    time_us = kill.killed.time_us
    return boot_time_ns(time_us, suspended_ns) - tolerance_ns(time_us, suspended_ns) < instant_ns


def _incidents(log: LogRead, found: dict[int, str], boot_id: str) -> list[str]:
    """The incident of each kill: the id of its invocation's first, as whoever told that one says it."""
    first: dict[tuple[int, int], str] = {}
    for i, kill in enumerate(log.kills):
        first.setdefault(kill.incident, found.get(i) or log_id(boot_id, *kill.incident))
    return [first[kill.incident] for kill in log.kills]

"""Kills from before anybody watched, out of the kernel's own log: as much as that says, and no more.

A line of the log is text in which names are chosen by those who get killed. Only what the kernel alone can have
written makes a report (``grammar``), what can be read in two ways is left unknown (``names``, ``parse``), and
who was reported already is not reported again (``match``).
"""

from __future__ import annotations

from oomtracer.backfill.line import LogLine
from oomtracer.backfill.match import KnownKill, is_near
from oomtracer.backfill.parse import LoggedKill, parse
from oomtracer.backfill.reader import LogRead, read_log
from oomtracer.backfill.recover import Backfill, recover

__all__ = [
    "Backfill",
    "KnownKill",
    "LogLine",
    "LogRead",
    "LoggedKill",
    "is_near",
    "parse",
    "read_log",
    "recover",
]

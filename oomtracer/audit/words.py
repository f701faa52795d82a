"""Losses as people read them: one line for the log, one sentence for ``check`` and ``history``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from oomtracer.audit.audit import Verdict

UNSEEN: Final = "unseen"
# Counted by the program itself, named as in struct oom_counters.
PROGRAM_STAGES: Final = ("ring_full", "over_share", "not_found", "unread")

_WHY: Final = {
    UNSEEN: "the kernel counted them and no program saw them: look with `oomtracer check` at which hooks are attached",
    "ring_full": "the ring was full: raise --ring-size",
    "over_share": "the ring was half full and their pod or unit had its share: raise --ring-size",
    "not_found": "the kernel named a process that was not found: report it with the kernel's version",
    "unread": "nobody had read the ring for so long that the programs went quiet: keep the agent running",
    "in_hand": "an agent was killed while the disk took nothing: they may have been told, and are not kept",
    "decode": "their records were not understood: report the log line about each",
    "attribute": "no report could be made of them: report the log line about each",
}


def loss_line(lost: Mapping[str, int]) -> str:
    """One line about new losses, each stage with what to do; empty without any."""
    parts = [
        f"{count} {stage} ({_WHY[stage]})" if stage in _WHY else f"{count} {stage}"
        for stage, count in lost.items()
    ]
    return f"kills lost: {'; '.join(parts)}" if parts else ""


def sentence(verdict: Verdict, *, since: str) -> str:
    """How the counts agree, since the time that the caller names."""
    told = [f"{verdict.reported} reported"]
    if verdict.kernel_kills is not None:
        told.insert(0, f"{_kills(verdict.kernel_kills)} counted by the kernel")
    if verdict.second_kills:
        told.append(f"{verdict.second_kills} counted twice for one process")
    told.append(_lost(verdict.lost))
    unknown = f"; whether the kernel counted more is unknown: {verdict.reason}" if verdict.reason else ""
    return f"since {since}: {', '.join(told)}{unknown}"


def _kills(count: int) -> str:
    return f"{count} kill" if count == 1 else f"{count} kills"


def _lost(lost: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{stage} {count}" for stage, count in lost.items() if count)
    return f"{sum(lost.values())} lost ({reasons})" if reasons else "none lost"

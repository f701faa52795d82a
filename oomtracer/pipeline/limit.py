"""Whose limit was hit, where the kernel did not say: the candidates, and how sure the choice is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer.cgroups import limit_owner
from oomtracer.events import CUT, Limit

if TYPE_CHECKING:
    from oomtracer.events import CgroupLevel, OomKill

# The kernel decides with less room than one allocation, but another task may free some before the
# victim is marked: so much (of its limit) may be free at the level that was hit ...
_HIT_AT_MOST_FREE = 1 / 8
# ... and more than so much must be free at every other candidate to rule it out. Both were held against the
# kernel log's oom_memcg= over contended kills (docs/decisions/0003).
_RULED_OUT_FREE = 1 / 4
# Bytes that are no UTF-8 all decode to this: two names with it can look the same and not be.
UNDECODABLE = "\ufffd"


@dataclass(frozen=True, slots=True)
class _Candidate:
    index: int
    cgroup: str
    limit_bytes: int
    usage_bytes: int

    @property
    def free_bytes(self) -> int:
        return self.limit_bytes - self.usage_bytes


def find_limit(kill: OomKill) -> tuple[Limit, int] | None:
    """The limit that a memory cgroup's kill ran into, and its index in ``kill.levels``.

    Only cgroups with a finite limit that hold both victim and trigger can be it. None where there is none.
    """
    candidates = [c for i, level in enumerate(kill.levels) if (c := _candidate(kill, i, level))]
    if kill.limit_level is not None:
        known = _candidate(kill, kill.limit_level, kill.levels[kill.limit_level])
        return (_limit(known, certain=True), known.index) if known else None
    if not candidates:
        return None
    # The leaf is charged first, so that it wins a tie.
    best = min(candidates, key=lambda candidate: (candidate.free_bytes, candidate.index))
    others = [candidate for candidate in candidates if candidate is not best]
    return _limit(best, certain=_knows_candidates(kill) and _is_certain(best, others)), best.index


def _knows_candidates(kill: OomKill) -> bool:
    """Whether no level is missing, and none is taken to hold the trigger because its name was cut."""
    trigger = kill.trigger.cgroup
    if not kill.levels_complete or trigger is None:
        return False
    return not {CUT, UNDECODABLE} & set(trigger) or trigger == kill.victim.cgroup


def _candidate(kill: OomKill, index: int, level: CgroupLevel) -> _Candidate | None:
    if level.limit_bytes is None:
        return None
    if kill.limit_level is None and not _holds(level.cgroup, kill.trigger.cgroup):
        return None
    return _Candidate(index, level.cgroup, level.limit_bytes, level.usage_bytes)


def _holds(cgroup: str, path: str | None) -> bool:
    return path is None or path == cgroup or path.startswith(f"{cgroup}/")


def _is_certain(best: _Candidate, others: list[_Candidate]) -> bool:
    if not others:
        return True
    if best.free_bytes > best.limit_bytes * _HIT_AT_MOST_FREE:
        return False
    return all(other.free_bytes > other.limit_bytes * _RULED_OUT_FREE for other in others)


def _limit(candidate: _Candidate, *, certain: bool) -> Limit:
    return Limit(
        cgroup=candidate.cgroup,
        owner=limit_owner(candidate.cgroup),
        limit_bytes=candidate.limit_bytes,
        usage_bytes=candidate.usage_bytes,
        certain=certain,
    )

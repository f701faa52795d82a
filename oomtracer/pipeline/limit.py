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

    @property
    def is_near_limit(self) -> bool:
        return self.free_bytes <= self.limit_bytes * _HIT_AT_MOST_FREE


def find_limit(kill: OomKill) -> tuple[Limit, int] | None:
    """The limit that a memory cgroup's kill ran into, and its index in ``kill.levels``.

    It is one with a finite limit that holds both victim and trigger, unless none of these is near its limit:
    memory can be charged to another process than the one that asks for it (ptrace, userfaultfd, a limit that
    is lowered). None where there is none, or where it may be among the levels that are missing.
    """
    limited = [_candidate(i, level) for i, level in enumerate(kill.levels) if level.limit_bytes is not None]
    if kill.limit_level is not None:
        known = [candidate for candidate in limited if candidate.index == kill.limit_level]
        return (_limit(known[0], certain=True), kill.limit_level) if known else None
    if kill.constraint is not None:  # the kernel said whose it was: of a level that is missing, or of none
        return None
    holding = [candidate for candidate in limited if _holds(candidate.cgroup, kill.trigger.cgroup)]
    hit = [candidate for candidate in holding if candidate.is_near_limit]
    if hit:
        best = _fullest(hit)
        return _limit(best, certain=_knows_candidates(kill) and _are_ruled_out(holding, best)), best.index
    likely = [candidate for candidate in limited if candidate.is_near_limit] or (
        holding if kill.levels_complete else []
    )
    return (_limit(_fullest(likely), certain=False), _fullest(likely).index) if likely else None


def _fullest(candidates: list[_Candidate]) -> _Candidate:
    # The leaf is charged first, so that it wins a tie.
    return min(candidates, key=lambda candidate: (candidate.free_bytes, candidate.index))


def _knows_candidates(kill: OomKill) -> bool:
    """Whether no level is missing, and none is taken to hold the trigger because its name was cut."""
    trigger = kill.trigger.cgroup
    if not kill.levels_complete or trigger is None:
        return False
    return not {CUT, UNDECODABLE} & set(trigger) or trigger == kill.victim.cgroup


def _candidate(index: int, level: CgroupLevel) -> _Candidate:
    return _Candidate(index, level.cgroup, level.limit_bytes or 0, level.usage_bytes)


def _holds(cgroup: str, path: str | None) -> bool:
    return path is None or path == cgroup or path.startswith(f"{cgroup}/")


def _are_ruled_out(candidates: list[_Candidate], best: _Candidate) -> bool:
    return all(
        other.free_bytes > other.limit_bytes * _RULED_OUT_FREE for other in candidates if other is not best
    )


def _limit(candidate: _Candidate, *, certain: bool) -> Limit:
    return Limit(
        cgroup=candidate.cgroup,
        owner=limit_owner(candidate.cgroup),
        limit_bytes=candidate.limit_bytes,
        usage_bytes=candidate.usage_bytes,
        certain=certain,
    )

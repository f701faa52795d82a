"""The names in a dump's last line: cpuset, cgroups and command, each of which can hold any of the words between.

    cpuset=NAME,mems_allowed=LIST,global_oom,task_memcg=PATH,task=COMM
    cpuset=NAME,mems_allowed=LIST,oom_memcg=PATH,task_memcg=PATH,task=COMM

The line is read in every way there is. What holds for every kernel rules out most of them: a path starts with a
slash, and a cpuset's name has none; a command has 15 bytes; the victim is in the cgroup at its limit or below
it. Where more than one way is left, nothing is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oomtracer.backfill.line import COMM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NODES = re.compile(r",mems_allowed=[0-9,-]*,(?=global_oom,task_memcg=/|oom_memcg=/)")
_GLOBAL, _LIMIT, _TASK_MEMCG, _TASK = "global_oom", "oom_memcg=", ",task_memcg=", ",task="
# A record has 2,048 bytes at most (PRINTK_MESSAGE_MAX). The time grows with the square of it.
_MOST_CHARACTERS = 4_096


@dataclass(frozen=True, slots=True)
class Names:
    """One way to read the line."""

    oom_memcg: str | None
    """None where no memory cgroup's limit was hit."""
    task_memcg: str
    comm: str


def names_of(text: str, fits: Callable[[Names], bool]) -> Names | None:
    """The only way to read ``text`` that ``fits``; None where there is none, or several."""
    if len(text) > _MOST_CHARACTERS:
        return None
    found = {names for names in _ways(text) if fits(names)}
    return found.pop() if len(found) == 1 else None


def _ways(text: str) -> Iterator[Names]:
    for rest in _after_cpuset(text):
        for memcgs, comm in _splits(rest, _TASK):
            if len(comm) > COMM_LENGTH:
                continue
            for first, task_memcg in _splits(memcgs, _TASK_MEMCG):
                oom_memcg = first.removeprefix(_LIMIT)
                if not task_memcg.startswith("/"):
                    continue
                if first == _GLOBAL:
                    yield Names(None, task_memcg, comm)
                elif oom_memcg != first and oom_memcg.startswith("/") and _is_below(task_memcg, oom_memcg):
                    yield Names(oom_memcg, task_memcg, comm)


def _after_cpuset(text: str) -> Iterator[str]:
    for match in _NODES.finditer(text):
        name = text[: match.start()]
        if name == "/" or "/" not in name:
            yield text[match.end() :]


def _splits(text: str, separator: str) -> Iterator[tuple[str, str]]:
    at = text.find(separator)
    while at >= 0:
        yield text[:at], text[at + len(separator) :]
        at = text.find(separator, at + 1)


def _is_below(path: str, top: str) -> bool:
    return top in (path, "/") or path.startswith(f"{top}/")

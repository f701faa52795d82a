"""All targets, by name."""

from __future__ import annotations

from typing import Final

from . import answer, cgroup, decision, kmsg, podlist, record, report, ring, watch
from .target import Target, target_of

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        target_of("record", record),
        target_of("ring", ring),
        target_of("cgroup", cgroup),
        target_of("watch", watch),
        target_of("podlist", podlist),
        target_of("answer", answer),
        target_of("decision", decision),
        target_of("report", report),
        target_of("kmsg", kmsg),
    )
}

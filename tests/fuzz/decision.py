"""Kills in a row, the pods they hit and the flags, as choices: ``oomtracer.policy``."""

from __future__ import annotations

from random import Random

from oomtracer.cgroups import limit_owner
from oomtracer.config import Marking
from oomtracer.events import OomReport, Outcome, WorkloadKind
from oomtracer.pods import Pod
from oomtracer.policy import PREFER_NO_EVICTION, Policy

from . import things
from .choices import Choices

_REASONS_TO_MARK = frozenset({"node_out_of_memory", "limit_above_pod", "pod_limit", "container_limit"})


def generate(random: Random) -> bytes:
    """Make choices, many of which are the first."""
    data = random.randbytes(random.choice((200, 400, 800)))
    return bytes([byte if random.random() < 0.6 else 0 for byte in data]) if random.random() < 0.7 else data


def check(data: bytes) -> None:
    """Every kill is decided, the same each time, and none marks what may never be marked."""
    assert _decisions(data) == _decisions(data)


def _decisions(data: bytes) -> list[tuple[bool, str]]:
    c = Choices(data)
    marking = things.marking(c)
    policy, made, seen = Policy(marking, owner_of=limit_owner), [], set()
    for _ in range(3):
        report, pod = things.report(c), None if c.flag() else things.pod(c)
        decision = policy.decide(report, pod, now_s=c.number(), monotonic_s=c.number(), age_s=c.number())
        made.append((decision.mark, decision.reason.value))
        assert decision.mark == (decision.reason.value in _REASONS_TO_MARK)
        if decision.mark:
            _check_mark(report, pod, marking)
            names = {("incident", report.incident), ("pod", pod.uid)}
            assert not names & seen
            seen |= names
    return made


def _check_mark(report: OomReport, pod: Pod | None, marking: Marking) -> None:
    assert pod is not None
    assert report.workload.kind is WorkloadKind.POD
    assert report.outcome is Outcome.KILLED
    assert not (report.selftest)
    assert not (report.sysrq)
    assert not (pod.is_mirror)
    assert not (pod.is_terminating)
    assert pod.namespace not in marking.protected_namespaces
    assert PREFER_NO_EVICTION not in pod.annotations

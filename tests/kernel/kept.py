"""What tests of whole agents with a journal and pins share: their flags, and what is kept of the kills."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from tests.kernel.agent import Agent, get, metric, run_oomtracer
from tests.kernel.test_storm import STORM_BYTES, STORM_LIMIT_BYTES, serving_port

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.kernel.agent import Report
    from tests.kernel.conftest import Cgroup, Grow

OFF = ("--backfill", "off")
"""The log of this boot has kills of other tests, too."""
SERVED = ("--metrics-bind-address", "127.0.0.1:0")


def kept_in(state: Path) -> tuple[str, ...]:
    """The flags of an agent with a journal."""
    return ("--state-dir", str(state), *OFF)


def pinned_in(pin_path: Path) -> tuple[str, ...]:
    """The flags of an agent with pins."""
    return ("--pin-path", str(pin_path))


def history(state: Path) -> list[Report]:
    """All reports of the journal, the oldest first."""
    done = run_oomtracer("history", "--state-dir", str(state), "--output", "json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def pids(reports: Iterable[Report]) -> list[int]:
    """The victims."""
    return [report["victim"]["pid"] for report in reports]


def ids(reports: Iterable[Report]) -> Counter[str]:
    """How often each kill is there."""
    return Counter(report["id"] for report in reports)


def make_storm(grow: Grow, cgroup: Cgroup, count: int) -> None:
    """So many kills in a cgroup, one after the other."""
    with grow.start(cgroup.limit(STORM_LIMIT_BYTES), "storm", STORM_BYTES, str(count)) as storm:
        assert storm.wait(120) == 0


def url_of(agent: Agent, page: str) -> str:
    """Where the agent serves a page."""
    return f"http://127.0.0.1:{serving_port(agent)}/{page}"


def value_of(agent: Agent, name: str, **labels: str) -> float:
    """One of the agent's metrics now; ``name`` is without the prefix."""
    return metric(get(url_of(agent, "metrics"))[1], f"oom_tracer_{name}", **labels)


def readiness(agent: Agent) -> tuple[int, str]:
    """What ``/readyz`` says."""
    return get(url_of(agent, "readyz"))


def rest_of_log(agent: Agent) -> str:
    """The whole log of an agent that has ended."""
    agent.log.rest()
    return "\n".join(agent.log.all)

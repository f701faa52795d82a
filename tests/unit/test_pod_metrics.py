from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.config import PodMetrics
from oomtracer.events import Group, Outcome, Workload, WorkloadKind
from oomtracer.sinks.pod_metrics import KEEP_S, MAX_CONTAINERS, OTHER, PodKills

from .builders import CONTAINER_ID, POD_UID, examples, report
from .test_naming import pod
from .virtual_clock import VirtualClock

KILLS = "oom_tracer_pod_kills_total"
SILENT = "oom_tracer_silent_kills_total"
LAST = "oom_tracer_pod_last_kill_timestamp_seconds"


class Node:
    """The pods of a node, and the kills in them."""

    def __init__(self, mode: PodMetrics = PodMetrics.ALL) -> None:
        self.pods = []
        self.clock = VirtualClock()
        self.kills = PodKills(lambda: self.pods, mode, clock=self.clock.time, wall_clock=lambda: 2e9)

    def scrape(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Name -> labels -> value."""
        return {
            sample.name: {tuple(each.labels.values()): each.value for each in family.samples}
            for family in self.kills.collect()
            for sample in family.samples
        }


def in_container(container: str | None = "app", name: str = "web-8c5f", **changes):
    """Build the report of a kill in a container whose pod is known."""
    workload = Workload(
        kind=WorkloadKind.POD,
        namespace="shop",
        pod=name,
        pod_uid=POD_UID,
        container=container,
        container_id=CONTAINER_ID,
    )
    return report(**({"workload": workload, "init_died": True} | changes))


def test_every_container_is_there_at_zero_before_its_first_kill():
    """The first kill is then an increase that Prometheus sees."""
    node = Node()
    node.pods = [pod()]
    assert node.scrape() == {
        KILLS: {("shop", "web-8c5f", "app"): 0, ("shop", "web-8c5f", "proxy"): 0},
        SILENT: {("shop", "web-8c5f", "app"): 0, ("shop", "web-8c5f", "proxy"): 0},
    }


def test_a_kill_is_counted_in_its_container_with_its_time():
    """The other container of the pod stays at 0."""
    node = Node()
    node.pods = [pod()]
    node.kills.emit(in_container())
    page = node.scrape()
    assert page[KILLS] == {("shop", "web-8c5f", "app"): 1, ("shop", "web-8c5f", "proxy"): 0}
    assert list(page[LAST]) == [("shop", "web-8c5f", "app")]
    assert page[LAST]["shop", "web-8c5f", "app"] <= 2e9


@pytest.mark.parametrize(("init_died", "silent"), [(True, 0), (False, 1), (None, 0)])
def test_a_kill_that_its_container_survives_is_silent(init_died, silent):
    """Kubernetes does not notice it; where that is unknown it is not claimed."""
    node = Node()
    node.kills.emit(in_container(init_died=init_died))
    assert node.scrape()[SILENT] == {("shop", "web-8c5f", "app"): silent}


def test_a_group_kill_is_not_silent():
    """It takes the container's first process too, and Kubernetes notices."""
    node = Node()
    node.kills.emit(in_container(init_died=False, group=Group(id="x", index=0)))
    node.kills.emit(in_container(init_died=True, group=Group(id="x", index=1)))
    page = node.scrape()
    assert page[KILLS] == {("shop", "web-8c5f", "app"): 2}
    assert page[SILENT] == {("shop", "web-8c5f", "app"): 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"selftest": True},
        {"outcome": Outcome.ALREADY_EXITING},
        {"shared_memory": True},
        {"workload": Workload(kind=WorkloadKind.POD, pod_uid=POD_UID, resolved=False)},
        {"workload": Workload(kind=WorkloadKind.UNIT, unit="a.service")},
    ],
)
def test_what_is_no_kill_in_a_known_pod_is_not_counted(changes):
    """The same rules as for kills_total, and a name is needed."""
    node = Node()
    node.kills.emit(in_container(**changes))
    assert node.scrape() == {}


def test_killed_shows_only_containers_with_a_kill():
    """Fewer series, at the price of the zero before the first kill."""
    node = Node(PodMetrics.KILLED)
    node.pods = [pod()]
    assert node.scrape() == {}
    node.kills.emit(in_container())
    assert node.scrape()[KILLS] == {("shop", "web-8c5f", "app"): 1}


def test_the_series_go_some_time_after_the_pod():
    """Several scrapes still see them; as long as the pod is there they stay."""
    node = Node()
    node.pods = [pod()]
    node.kills.emit(in_container())
    node.clock.advance(10 * KEEP_S)
    assert len(node.scrape()[KILLS]) == 2
    node.pods = []
    node.clock.advance(KEEP_S)
    assert len(node.scrape()[KILLS]) == 2
    node.clock.advance(1)
    assert node.scrape() == {}


def test_a_series_that_is_still_counted_stays():
    """A process in the pod's own cgroup is in no container that the pod names."""
    node = Node()
    for _ in range(5):
        node.kills.emit(in_container(None))
        node.clock.advance(KEEP_S - 1)
        node.scrape()
    assert node.scrape()[KILLS] == {("shop", "web-8c5f", ""): 5}


def test_a_finished_pod_needs_no_zero():
    """A completed Job's pod stays in the API for long and is killed no more."""
    node = Node()
    node.pods = [pod(phase="Succeeded")]
    assert node.scrape() == {}


def test_a_pod_that_finishes_leaves_its_place():
    """Those that were never killed must not keep the ones that may be from being counted."""
    node = Node()
    node.pods = [pod()]
    assert len(node.scrape()[KILLS]) == 2
    node.pods = [pod(phase="Succeeded")]
    node.clock.advance(KEEP_S + 1)
    assert node.scrape() == {}


def test_too_many_containers_are_counted_together():
    """The number of series is bounded and no kill is missing from the sum."""
    node = Node(PodMetrics.KILLED)
    for number in range(MAX_CONTAINERS + 5):
        node.kills.emit(in_container(name=f"web-{number}"))
    kills = node.scrape()[KILLS]
    assert len(kills) == MAX_CONTAINERS + 1
    assert kills[OTHER] == 5


@examples(100)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["app", None, "proxy"])), max_size=30))
def test_the_sum_over_all_containers_is_the_number_of_kills(kills):
    """Whatever is killed where, the sum is right."""
    node = Node()
    node.pods = [pod()]
    for name, container in kills:
        node.kills.emit(in_container(container, name))
        assert all(value >= 1 for value in node.scrape().get(LAST, {1: 1}).values())
    page = node.scrape()
    assert sum(page[KILLS].values()) == len(kills)

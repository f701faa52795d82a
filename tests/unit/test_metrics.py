from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from oomtracer.events import LimitOwner, Outcome, Scope, Workload, WorkloadKind
from oomtracer.pipeline import Attributor
from oomtracer.sinks.metrics import LATENCY_BUCKETS_SECONDS, MAX_UNITS, NO_OWNER, Metrics, Sources

from . import builders, stacks, strategies
from .builders import CONTAINER, SERVICE, examples, kill, level, limit, report, trigger, victim

ACCEPT_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
KILLS, INCIDENTS = "oom_tracer_kills_total", "oom_tracer_incidents_total"


def metrics(**changes) -> Metrics:
    """Build one whose other components are quiet."""
    sources = Sources(
        connections=lambda: {"accepted": 0},
        version="9.9",
        libbpf="v1.1",
        events=lambda: {("observed", "ebpf_capture"): 3},
        repeated=lambda: 1,
        lost=lambda: {"ring_full": 2, "stdout": 0},
        hooks=lambda: {"tp_btf/mark_victim": True, "tp_btf/signal_generate": False},
        second_kills=lambda: 4,
        kernel_kills=lambda: 17,
        pinned=lambda: True,
        backfilled=lambda: 5,
        queued_bytes=lambda: 512,
    )
    return Metrics(replace(sources, **changes))


def samples(one: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Read the page as Prometheus does: name -> label values, the last label first -> number."""
    page, _ = one.page("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parse_text(page.decode()):
        for sample in family.samples:
            labels = dict(sorted(sample.labels.items(), reverse=True))
            found.setdefault(sample.name, {})[tuple(labels.values())] = sample.value
    return found


def series(one: Metrics) -> set[tuple[str, tuple[str, ...]]]:
    """Name every series on the page."""
    return {(name, labels) for name, values in samples(one).items() for labels in values}


def test_every_combination_is_there_at_zero_before_the_first_kill():
    """Every scope with every owner starts at 0, so that increase() sees the first kill."""
    page = samples(metrics())
    every = {(scope.value, owner) for scope in Scope for owner in (*map(str, LimitOwner), NO_OWNER)}
    for name in (KILLS, INCIDENTS):
        assert page[name] == dict.fromkeys(every, 0)
    for name in ("selftest_kills", "marks_without_kill", "shared_memory_kills"):
        assert page[f"oom_tracer_{name}_total"] == {(): 0}
    assert page["oom_tracer_last_kill_timestamp_seconds"] == {(): 0}
    assert page["oom_tracer_report_latency_seconds_count"] == {(): 0}


def test_what_other_components_count_is_asked_at_each_scrape():
    """Counters of ring, pipeline, hooks and kernel appear under their own names."""
    page = samples(metrics())
    assert page["oom_tracer_build_info"] == {("9.9", "v1.1"): 1}
    assert page["oom_tracer_events_total"] == {("observed", "ebpf_capture"): 3}
    assert page["oom_tracer_lost_events_total"] == {("ring_full",): 2, ("stdout",): 0}
    assert page["oom_tracer_hook_attached"] == {("tp_btf/mark_victim",): 1, ("tp_btf/signal_generate",): 0}
    assert page["oom_tracer_second_kills_total"] == {(): 4}
    assert page["oom_tracer_repeated_kills_total"] == {(): 1}
    assert page["oom_tracer_kernel_kills_total"] == {(): 17}
    assert page["oom_tracer_output_queue_bytes"] == {(): 512}


def test_a_kernel_without_a_count_has_no_such_metric():
    """Unknown is left out: a 0 would be a lie."""
    assert "oom_tracer_kernel_kills_total" not in samples(metrics(kernel_kills=lambda: None))


def test_kills_count_by_scope_and_owner_and_incidents_once():
    """Each process counts as a kill, each run of the OOM killer as one incident."""
    mine = metrics()
    for index in range(5):
        mine.emit(report(id=f"{index}", incident="0"))
    mine.emit(report(scope=Scope.GLOBAL, limit=None))
    mine.emit(report(limit=limit(owner=LimitOwner.POD)))
    page = samples(mine)
    expected = {("memcg", "unit"): 5, ("global", "none"): 1, ("memcg", "pod"): 1}
    assert {labels: value for labels, value in page[KILLS].items() if value} == expected
    expected[("memcg", "unit")] = 1
    assert {labels: value for labels, value in page[INCIDENTS].items() if value} == expected


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"selftest": True}, "selftest_kills"),
        ({"selftest": True, "outcome": Outcome.ALREADY_EXITING}, "selftest_kills"),
        ({"shared_memory": True}, "shared_memory_kills"),
        ({"outcome": Outcome.ALREADY_EXITING}, "marks_without_kill"),
    ],
)
def test_what_the_kernel_does_not_count_or_nobody_should_is_counted_apart(changes, name):
    """Self-tests, sharers of memory and marks without a kill are in no other counter."""
    mine = metrics()
    mine.emit(report(**changes))
    page = samples(mine)
    assert page[f"oom_tracer_{name}_total"] == {(): 1}
    assert not any(page[KILLS].values())
    assert not any(page[INCIDENTS].values())
    assert "oom_tracer_unit_kills_total" not in page
    assert page["oom_tracer_last_kill_timestamp_seconds"] == {(): 0}


def test_a_mark_of_unknown_outcome_is_a_kill():
    """Where signals cannot be seen, a mark is taken for the kill it nearly always is."""
    mine = metrics()
    mine.emit(report(outcome=Outcome.UNKNOWN))
    assert samples(mine)[KILLS][("memcg", "unit")] == 1


def test_units_are_counted_and_their_number_is_capped():
    """Beyond the cap further units share one label; those known go on counting."""
    mine = metrics()
    for number in range(MAX_UNITS + 20):
        unit = "".join(chr(97 + int(digit)) for digit in str(number))
        mine.emit(report(workload=Workload(kind=WorkloadKind.UNIT, unit=f"{unit}.service")))
    mine.emit(report(workload=Workload(kind=WorkloadKind.UNIT, unit="a.service")))
    units = samples(mine)["oom_tracer_unit_kills_total"]
    assert len(units) == MAX_UNITS + 1
    assert (units[("other",)], units[("a.service",)]) == (20, 2)


def test_the_last_kill_and_the_latency():
    """The time of the last kill is its own, not its report's; its latency is in the bucket that holds it."""
    mine = metrics()
    mine.emit(report(boot_time_ns=2**63))  # a clock that runs ahead of us is no negative latency
    mine.emit(report(boot_time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 60 * 10**9))
    page = samples(mine)
    buckets = page["oom_tracer_report_latency_seconds_bucket"]
    assert len(buckets) == len(LATENCY_BUCKETS_SECONDS) + 1
    assert (buckets[("10.0",)], buckets[("+Inf",)], buckets[("0.001",)]) == (1, 2, 1)
    assert page["oom_tracer_report_latency_seconds_sum"][()] >= 60
    assert abs(page["oom_tracer_last_kill_timestamp_seconds"][()] - (time.time() - 60)) < 30


@pytest.mark.parametrize("accept", ["", "text/plain", "*/*", ACCEPT_OPENMETRICS, "nonsense;;;q"])
def test_both_formats_parse(accept):
    """Whatever is accepted, the page is what its content type says."""
    mine = metrics()
    mine.emit(report())
    page, content_type = mine.page(accept)
    openmetrics = content_type.startswith("application/openmetrics-text")
    assert openmetrics == (accept == ACCEPT_OPENMETRICS)
    names = {family.name for family in (parse_openmetrics if openmetrics else parse_text)(page.decode())}
    assert {"oom_tracer_kills", "oom_tracer_build_info", "process_resident_memory_bytes"} <= names


def test_names_have_the_prefix_and_a_help_text():
    """Every metric of ours is named by its prefix, ends in its unit or total, and is explained."""
    page, _ = metrics().page(ACCEPT_OPENMETRICS)
    for family in parse_openmetrics(page.decode()):
        assert family.name.startswith(("oom_tracer_", "process_"))
        assert family.documentation


SYMBOLS = stacks.Symbols()
MEMCG = SYMBOLS.stack(stacks.MEMCG)


@given(comm=strategies.NAMES, below=st.lists(strategies.NAMES, max_size=3))
@examples(40)
def test_nothing_a_pod_controls_becomes_a_label(comm, below):
    """With any command name, and any cgroups a pod makes in its own, no series comes or goes."""
    mine = metrics()
    before = series(mine)
    cgroup = "/".join((CONTAINER, *below))
    attributor = Attributor(boot_id=builders.BOOT_ID, node="n", symbols=SYMBOLS, memory_nodes=1)
    hostile = kill(
        victim=victim(comm=comm, cgroup=cgroup),
        trigger=trigger(comm=comm, cgroup=cgroup),
        levels=(level(cgroup, 1, 1), level(CONTAINER, 1, 1)),
        stack=MEMCG,
    )
    mine.emit(attributor.report(hostile))
    assert series(mine) == before
    assert samples(mine)[KILLS][("memcg", "container")] == 1


@given(st.lists(strategies.reports(), max_size=5))
@examples(50)
def test_any_report_leaves_a_page_that_parses(many):
    """Names of any characters never break the page, in either format."""
    mine = metrics()
    for one in many:
        mine.emit(one)
    counted = samples(mine)
    assert sum(counted[KILLS].values()) <= len(many)
    assert list(parse_openmetrics(mine.page(ACCEPT_OPENMETRICS)[0].decode()))


def test_a_service_is_counted_by_its_unit():
    """A systemd unit is a label by its own name."""
    mine = metrics()
    mine.emit(report())
    assert samples(mine)["oom_tracer_unit_kills_total"] == {(SERVICE.rpartition("/")[2],): 1}

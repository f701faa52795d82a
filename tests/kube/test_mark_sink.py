from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from oomtracer.cgroups import limit_owner
from oomtracer.config import Marking, Rate
from oomtracer.events import Outcome, Workload, WorkloadKind
from oomtracer.policy import Decision, Policy, Reason
from oomtracer.sinks.mark import LATENCY_BUCKETS_S, all_outcomes, telling
from oomtracer.sinks.mark import sink as sink_module
from tests.policy import scenes

from .mark_scene import ANNOTATION, APPLIED, LABEL, MARKING, Node, kill_of
from .scripted_api import ScriptedApi
from .virtual_time import now, run_virtual


def lines(caplog) -> list[str]:
    """Collect what the mark's logger said at INFO or above."""
    return [
        r.getMessage() for r in caplog.records if r.name == "oomtracer.mark" and r.levelno >= logging.INFO
    ]


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level(logging.DEBUG, logger="oomtracer.mark")


def test_a_wanted_mark_is_one_merge_patch_with_the_uid(caplog):
    """The patch names the pod's uid and the configured annotation and label, and nothing else."""

    async def main():
        async with Node(marking=replace(MARKING, label=LABEL)) as node:
            report = kill_of(node.pod, ago_s=0.02)
            node.sink.emit(report)
            await node.settle()
            [request] = node.api.requests
            assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/shop/pods/shop-0")
            assert request.query == {"fieldManager": "oomtracer", "timeout": "5s"}
            assert request.content_type == "application/merge-patch+json"
            marks = {"annotations": {ANNOTATION.key: "yes"}, "labels": {LABEL.key: "true"}}
            assert request.document == {"metadata": {"uid": "uid-0", **marks}}
            assert request.timeout_s > 5
            assert node.counted == {APPLIED: 1}
            assert node.told == [(report, node.pod)]
            assert node.sink.decision_of(report) == Decision(mark=True, reason=Reason.NODE_OUT_OF_MEMORY)

    run_virtual(main())
    assert lines(caplog) == [
        "marking pod shop/shop-0: node_out_of_memory",
        "marked pod shop/shop-0, 0.030 s after the kill",
    ]


def test_without_an_annotation_the_label_is_told():
    """A mark made by a label alone is counted as such."""

    async def main():
        async with Node(marking=replace(MARKING, annotation=None, label=LABEL)) as node:
            node.sink.emit(kill_of(node.pod))
            await node.settle()
            assert node.api.requests[0].document["metadata"] == {
                "uid": "uid-0",
                "labels": {LABEL.key: "true"},
            }
            assert node.counted == {("marked", "label_applied"): 1}

    run_virtual(main())


def test_a_dry_run_says_what_it_would_have_done(caplog):
    """Without a mark to set, decisions are told and counted, budget included, and nothing is sent."""

    async def main():
        async with Node(marking=Marking(cooldown_s=0.0), pods=2) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await asyncio.sleep(1)
            assert node.api.requests == []
            assert node.counted == {("dry_run", "would_mark"): 1, ("skipped", "budget_spent"): 1}
            assert node.sink.counts.failed == 0
            assert node.sink.marked_pods() == 0

    run_virtual(main())
    assert lines(caplog) == [
        "would mark pod shop/shop-0: node_out_of_memory",
        "not marking pod shop/shop-1: budget_spent",
    ]


def test_a_decision_is_told_and_counted_once_for_each_pod_and_incident(caplog):
    """The processes of a group kill are one decision; the next incident is another."""

    async def main():
        async with Node(pods=2) as node:
            node.see(node.pods[1], annotations={"oomtracer/ignore": "true"})
            for pod in node.pods:
                for index in range(5):
                    node.sink.emit(kill_of(pod, incident="one", id=f"{pod.name}:{index}"))
            node.sink.emit(kill_of(node.pods[1], incident="two"))
            await node.settle()
            assert len(node.api.requests) == 1
            assert node.counted == {APPLIED: 1, ("skipped", "opted_out"): 2}

    run_virtual(main())
    assert lines(caplog).count("not marking pod shop/shop-1: opted_out") == 1


def refusals(caplog, level: int) -> list[str]:
    """Collect the refusals that were said at one level."""
    return [
        r.getMessage().removeprefix("not marking ")
        for r in caplog.records
        if r.name == "oomtracer.mark" and r.levelno == level and r.getMessage().startswith("not marking")
    ]


def test_a_refusal_that_stays_the_same_is_said_every_ten_minutes(caplog):
    """A pod that loses a process every second fills no log, and all decisions are still counted."""

    async def main():
        async with Node() as node:
            node.see(node.pod, annotations={"oomtracer/ignore": "true"})
            for number in range(1_300):
                node.sink.emit(kill_of(node.pod, incident=str(number)))
                await asyncio.sleep(1.0)
            assert node.counted == {("skipped", "opted_out"): 1_300}

    run_virtual(main())
    assert refusals(caplog, logging.INFO) == ["pod shop/shop-0: opted_out"] * 3
    assert len(refusals(caplog, logging.DEBUG)) == 1_297


def test_another_refusal_or_pod_is_news(caplog):
    """Each reason of each pod is said, those of pods that are not known too; going back and forth is not news."""

    async def main():
        async with Node(pods=2) as node:
            for number in range(10):
                for pod in node.pods:
                    node.see(pod, annotations={"oomtracer/ignore": "true"})
                    node.sink.emit(kill_of(pod, incident=f"{number}"))
                node.sink.emit(kill_of(node.pod, incident=f"exit-{number}", outcome=Outcome.ALREADY_EXITING))
                for uid in ("uid-8", "uid-9"):
                    elsewhere = Workload(kind=WorkloadKind.POD, pod_uid=uid)
                    node.sink.emit(kill_of(node.pod, incident=f"{number}", workload=elsewhere))

    run_virtual(main())
    assert sorted(refusals(caplog, logging.INFO)) == [
        "pod shop/shop-0: not_killed",
        "pod shop/shop-0: opted_out",
        "pod shop/shop-1: opted_out",
        "pod with uid uid-8: no_pod_match",
        "pod with uid uid-9: no_pod_match",
    ]


def test_a_mark_is_always_said(caplog):
    """Twice for one pod too, as after a mark that failed: marks have a budget."""
    teller = telling.Teller(is_dry_run=False, clock=lambda: 0.0)
    decision = Decision(mark=True, reason=Reason.NODE_OUT_OF_MEMORY)
    pod = scenes.pod(namespace="shop", name="shop-0")
    for _ in range(3):
        teller.decided(scenes.pod_report(), pod, decision)
    assert lines(caplog) == ["marking pod shop/shop-0: node_out_of_memory"] * 3


def test_the_refusals_that_are_remembered_are_bounded(caplog, monkeypatch):
    """The one said longest ago is forgotten, and said again."""
    monkeypatch.setattr(telling, "MAX_REFUSALS", 3)

    async def main():
        async with Node(pods=4) as node:
            for turn, number in enumerate((0, 1, 2, 3, 3, 0)):
                pod = node.pods[number]
                node.see(pod, annotations={"oomtracer/ignore": "true"})
                node.sink.emit(kill_of(pod, incident=str(turn)))

    run_virtual(main())
    said = [line.removesuffix(": opted_out")[-1] for line in refusals(caplog, logging.INFO)]
    assert said == list("01230")


def test_a_pod_that_becomes_known_later_is_decided_again():
    """A report told while its pod was unknown does not stand in the way of the same report with a pod."""

    async def main():
        async with Node() as node:
            report = kill_of(node.pod)
            node.directory.replace([])
            node.directory.remove("uid-0")
            unknown = replace(report, workload=replace(report.workload, pod_uid="uid-9"))
            node.sink.emit(unknown)
            assert node.sink.decision_of(unknown) == Decision(mark=False, reason=Reason.NO_POD_MATCH)
            node.directory.put(replace(node.pod, uid="uid-9"))
            node.sink.emit(unknown)
            await node.settle()
            assert node.counted == {APPLIED: 1, ("skipped", "no_pod_match"): 1}

    run_virtual(main())


def test_a_second_process_may_be_the_one_that_counts():
    """A first victim that was exiting already decides nothing for the one killed with it."""

    async def main():
        async with Node() as node:
            node.sink.emit(kill_of(node.pod, incident="one", outcome=Outcome.ALREADY_EXITING))
            node.sink.emit(kill_of(node.pod, incident="one", id="two"))
            await node.settle()
            assert node.counted == {APPLIED: 1, ("skipped", "not_killed"): 1}

    run_virtual(main())


def test_kills_outside_of_pods_are_no_line_of_the_log(caplog):
    """A machine's own services are never marked, which need not be said at each kill."""

    async def main():
        async with Node() as node:
            node.sink.emit(kill_of(node.pod, workload=Workload(kind=WorkloadKind.UNIT, unit="shop.service")))
            node.sink.emit(kill_of(node.pod, selftest=True))
            assert node.counted == {("skipped", "not_in_pod"): 1, ("skipped", "selftest"): 1}

    run_virtual(main())
    assert lines(caplog) == []


def test_a_pod_is_never_patched_again_once_it_was(caplog):
    """Even a policy that has forgotten it does not get a pod marked twice, nor while a mark is on its way."""

    async def main():
        async with Node() as node:
            node.sink.emit(kill_of(node.pod, incident="one"))
            await node.settle()
            node.sink._policy = Policy(MARKING, owner_of=limit_owner)
            node.sink.emit(kill_of(node.pod, incident="two"))
            await node.settle()
            assert len(node.api.requests) == 1
            assert node.counted == {APPLIED: 1, ("skipped", "pod_decided"): 1}
            assert node.sink.decision_of(kill_of(node.pod, incident="two")) == Decision(
                mark=False, reason=Reason.POD_DECIDED
            )

    run_virtual(main())


def test_kills_before_run_are_delivered_by_it():
    """What is emitted while the agent is still starting waits for its tasks."""

    async def main():
        node = Node(pods=3)
        for pod in node.pods:
            node.sink.emit(kill_of(pod))
        assert node.sink.pending == 3
        async with node:
            await node.settle()
        assert node.counted == {APPLIED: 3}

    run_virtual(main())


def test_pending_marks_are_bounded_and_the_overflow_is_counted(caplog, monkeypatch):
    """Beyond the bound marks are dropped, said once, and policy gets its budget back."""
    monkeypatch.setattr(sink_module, "MAX_PENDING", 2)

    async def main():
        async with Node(pods=4) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            assert node.sink.pending == 2
            await node.settle()
            assert node.counted == {APPLIED: 2, ("error", "overflow"): 2}
            assert node.sink.counts.failed == 2
            node.sink.emit(kill_of(node.pods[3], incident="again"))
            await node.settle()
            assert node.counted[APPLIED] == 3

    run_virtual(main())
    assert sum("too many marks" in line for line in lines(caplog)) == 1


def test_what_is_remembered_is_bounded(monkeypatch):
    """Old decisions are forgotten, the newest are known."""
    monkeypatch.setattr(sink_module, "REMEMBERED", 10)

    async def main():
        node = Node()
        reports = [kill_of(node.pod, incident=f"{number}", selftest=True) for number in range(30)]
        for report in reports:
            node.sink.emit(report)
        assert [node.sink.decision_of(report) is not None for report in reports] == [False] * 20 + [True] * 10

    run_virtual(main())


def test_the_latency_is_in_the_bucket_that_holds_it():
    """From the kill to the API server's answer, retries and all."""

    async def main():
        async with Node(ScriptedApi(delay_s=0.1)) as node:
            node.sink.emit(kill_of(node.pod, ago_s=20.0))
            await node.settle()
            counts = node.sink.counts
            assert counts.latencies[LATENCY_BUCKETS_S.index(30.0)] == sum(counts.latencies) == 1
            assert counts.latency_sum_s == pytest.approx(20.1, abs=0.01)

    run_virtual(main())


def test_a_hook_that_fails_costs_nothing_but_its_own_news(caplog):
    """The mark counts as made, and the hooks after it are called."""

    def defect(*_):
        raise RuntimeError("a defect")

    async def main():
        async with Node(pods=2) as node:
            node.sink.on_marked.insert(0, defect)
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert node.counted == {APPLIED: 2}
            assert len(node.told) == 2

    run_virtual(main())
    assert "could not tell of a mark" in lines(caplog)


def test_a_defect_in_one_delivery_costs_that_mark_alone(caplog):
    """An error nobody expects is logged and counted, and the other marks are made."""

    def script(request):
        if request.pod == "shop-0":
            raise RuntimeError("a defect")
        return ScriptedApi().script(request)

    async def main():
        async with Node(ScriptedApi(script), pods=2) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert node.counted == {APPLIED: 1, ("error", "internal"): 1}

    run_virtual(main())
    assert "a mark was lost" in lines(caplog)


def test_every_outcome_is_there_before_the_first():
    """All stages and reasons begin at 0, and reasons of marks are none of skipped ones."""
    outcomes = all_outcomes()
    assert len(set(outcomes)) == len(outcomes)
    assert set(outcomes) >= {
        APPLIED,
        ("marked", "label_applied"),
        ("skipped", "annotation_exists"),
        ("skipped", "pod_gone"),
        ("dry_run", "would_mark"),
        ("error", "forbidden"),
    }
    assert not {reason for stage, reason in outcomes if stage == "skipped"} & {
        "node_out_of_memory",
        "pod_limit",
    }
    assert all(type(each) is str for outcome in outcomes for each in outcome)


def test_a_budget_of_one_marks_one_pod():
    """The sink asks policy for each pod; who comes second is left alone."""

    async def main():
        async with Node(marking=replace(MARKING, budget=Rate(1, 600.0)), pods=5) as node:
            for pod in node.pods:
                node.sink.emit(kill_of(pod))
            await node.settle()
            assert [request.pod for request in node.api.requests] == ["shop-0"]
            assert node.counted == {APPLIED: 1, ("skipped", "budget_spent"): 4}
            await asyncio.sleep(600)
            node.sink.emit(kill_of(node.pods[1], incident="later"))
            await node.settle()
            assert now() > 1_600
            assert node.counted[APPLIED] == 2

    run_virtual(main())

"""Alerts, by the real promtool: each fires where it should, and only there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.render import ROOT, overlay
from tests.deploy.tools import promtool

SPEC = overlay("monitoring").one("PrometheusRule")["spec"]
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in SPEC["groups"] for rule in group["rules"]
}

AGENT = 'namespace="oomtracer", pod="oomtracer-x", container="oomtracer", node="n1"'
WEB = 'namespace="shop", pod="web-0", container="web", node="n1"'
WEB_LABELS = {"namespace": "shop", "pod": "web-0", "container": "web", "node": "n1"}
NODE = {"node": "n1"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, one sample a minute, and the labels of the alert that fires at that minute; None: none does."""

    alert: str
    minute: int
    series: dict[str, str] = field(hash=False)
    fires: dict[str, str] | None = None


def stamp(labels: str = WEB) -> str:
    """The series that tells when a container had its last kill; promtool's clock starts at 0."""
    return f"oom_tracer_pod_last_kill_timestamp_seconds{{{labels}}}"


def silent(labels: str = WEB) -> str:
    """Silent kills of a container."""
    return f"oom_tracer_silent_kills_total{{{labels}}}"


def hook(name: str) -> str:
    """Whether a hook is attached."""
    return f'oom_tracer_hook_attached{{hook="{name}", {AGENT}}}'


def of_agent(metric: str, labels: str = "") -> str:
    """A series of the agent, with the labels of its target."""
    return f"oom_tracer_{metric}{{{labels}{', ' if labels else ''}{AGENT}}}"


def incidents(scope: str) -> str:
    """Runs of the OOM killer."""
    return of_agent("incidents_total", f'scope="{scope}", limit_owner="none"')


KILLED, SILENT, NODE_OOM = "OomTracerContainerKilled", "OomTracerSilentKill", "OomTracerNodeOutOfMemory"
UNWRITABLE, DROPPED = "OomTracerJournalNotWritable", "OomTracerJournalDropped"
NOT_PINNED = "OomTracerNotPinned"
LOST, HOOK, DOWN = "OomTracerKillsLost", "OomTracerHookOff", "OomTracerDown"
FENCE, FAILED, NOT_EVICTED = "OomTracerFenceOff", "OomTracerMarkFailed", "OomTracerMarkedNotEvicted"
VICTIM_HOOK, TRUTH_HOOK = "tp_btf/mark_victim", "tp_btf/signal_generate"
UP = f'up{{endpoint="metrics", {AGENT}}}'

CASES = {
    "a kill five minutes ago": Case(
        alert=KILLED, minute=20, series={stamp(): "_x15 900x10"}, fires=WEB_LABELS
    ),
    "a kill by a clock that is ahead": Case(
        alert=KILLED, minute=20, series={stamp(): "_x19 1230x10"}, fires=WEB_LABELS
    ),
    "a kill eleven minutes ago": Case(alert=KILLED, minute=20, series={stamp(): "_x9 540x20"}),
    "no kill": Case(
        alert=KILLED,
        minute=20,
        series={f"oom_tracer_pod_kills_total{{{WEB}}}": "0x30", silent(): "0x30"},
    ),
    "a silent kill": Case(
        alert=SILENT, minute=15, series={silent(): "0x10 1x20", stamp(): "_x10 650x20"}, fires=WEB_LABELS
    ),
    "a silent kill before the first scrape": Case(
        alert=SILENT, minute=15, series={silent(): "_x13 1x20", stamp(): "_x13 830x20"}, fires=WEB_LABELS
    ),
    "a kill that is not silent": Case(
        alert=SILENT,
        minute=15,
        series={
            silent(): "0x30",
            stamp(): "_x10 650x20",
            f"oom_tracer_pod_kills_total{{{WEB}}}": "0x10 1x20",
        },
    ),
    "a silent kill long ago": Case(
        alert=SILENT, minute=30, series={silent(): "0x5 1x30", stamp(): "_x5 350x30"}
    ),
    "a silent kill long ago, another kill now": Case(
        alert=SILENT, minute=30, series={silent(): "0x5 1x30", stamp(): "_x5 350x20 1600x10"}
    ),
    "a silent kill long ago, and then no scrapes": Case(
        alert=SILENT, minute=25, series={silent(): "1x5 _x15 1x10", stamp(): "60x5 _x15 60x10"}
    ),
    "a restart of the agent after silent kills": Case(
        alert=SILENT, minute=15, series={silent(): "3x10 0x10", stamp(): "60x10 _x10"}
    ),
    "a node out of memory": Case(
        alert=NODE_OOM,
        minute=15,
        series={incidents("global"): "0x10 1x10", incidents("memcg"): "5x20"},
        fires=NODE,
    ),
    "a cgroup out of memory": Case(
        alert=NODE_OOM, minute=15, series={incidents("global"): "0x20", incidents("memcg"): "0x10 1x10"}
    ),
    "records lost": Case(
        alert=LOST,
        minute=15,
        series={of_agent("lost_events_total", 'stage="ring_full"'): "0x10 7x10"},
        fires=NODE | {"stage": "ring_full"},
    ),
    "nothing lost lately": Case(
        alert=LOST, minute=30, series={of_agent("lost_events_total", 'stage="ring_full"'): "0x5 7x30"}
    ),
    "lost while no agent was there": Case(
        alert=LOST,
        minute=15,
        series={of_agent("lost_events_total", 'stage="unread"'): "_x10 7x20"},
        fires=NODE | {"stage": "unread"},
    ),
    "lost between two agents": Case(
        alert=LOST,
        minute=40,
        series={
            of_agent("lost_events_total", 'stage="ring_full"'): "7x10",
            of_agent("lost_events_total", 'stage="ring_full"').replace("-x", "-y"): "_x35 9x20",
        },
        fires=NODE | {"stage": "ring_full"},
    ),
    "lost long before, and then no agent for a while": Case(
        alert=LOST,
        minute=40,
        series={
            of_agent("lost_events_total", 'stage="ring_full"'): "7x10",
            of_agent("lost_events_total", 'stage="ring_full"').replace("-x", "-y"): "_x35 7x20",
        },
    ),
    "a full disk": Case(
        alert=UNWRITABLE, minute=20, series={of_agent("journal_writable"): "1x5 0x30"}, fires=NODE
    ),
    "a disk that was full for a moment": Case(
        alert=UNWRITABLE, minute=20, series={of_agent("journal_writable"): "1x5 0x8 1x30"}
    ),
    "writes that the memory has no room for": Case(
        alert=DROPPED,
        minute=15,
        series={
            of_agent("journal_dropped_writes_total", 'kind="reports"'): "0x10 3x10",
            of_agent("journal_dropped_writes_total", 'kind="records"'): "0x20",
        },
        fires=NODE | {"kind": "reports"},
    ),
    "writes that wait": Case(
        alert=DROPPED,
        minute=15,
        series={
            of_agent("journal_dropped_writes_total", 'kind="reports"'): "0x20",
            of_agent("journal_deferred_writes_total"): "0x10 3x10",
        },
    ),
    "no pins": Case(alert=NOT_PINNED, minute=15, series={of_agent("pinned"): "0x30"}, fires=NODE),
    "pins": Case(alert=NOT_PINNED, minute=15, series={of_agent("pinned"): "0x2 1x30"}),
    "nothing traced": Case(
        alert=HOOK,
        minute=10,
        series={hook(VICTIM_HOOK): "0x20", hook(TRUTH_HOOK): "1x20"},
        fires=NODE | {"tracepoint": "mark_victim"},
    ),
    "signals not traced": Case(
        alert=HOOK,
        minute=10,
        series={hook(VICTIM_HOOK): "1x20", hook(TRUTH_HOOK): "0x20"},
        fires=NODE | {"tracepoint": "signal_generate"},
    ),
    "another hook for the same": Case(
        alert=HOOK,
        minute=10,
        series={
            hook(VICTIM_HOOK): "0x20",
            hook("raw_tp/mark_victim_pid"): "1x20",
            hook(TRUTH_HOOK): "1x20",
        },
    ),
    "a hook off for a moment": Case(alert=HOOK, minute=10, series={hook(VICTIM_HOOK): "1x6 0x20"}),
    "an agent that does not answer": Case(alert=DOWN, minute=15, series={UP: "0x20"}, fires=NODE),
    "an agent that starts": Case(alert=DOWN, minute=15, series={UP: "1x10 0x2 1x20"}),
    "another target that does not answer": Case(
        alert=DOWN,
        minute=15,
        series={'up{container="web", endpoint="metrics", node="n2"}': "0x20", UP: "1x20"},
    ),
    "no fence": Case(
        alert=FENCE,
        minute=20,
        series={of_agent("admission_policy_enforced"): "1x3 0x30"},
        fires=NODE,
    ),
    "a fence": Case(alert=FENCE, minute=20, series={of_agent("admission_policy_enforced"): "0x3 1x30"}),
    "a dry run": Case(alert=FENCE, minute=20, series={of_agent("build_info"): "1x30"}),
    "a mark that failed": Case(
        alert=FAILED,
        minute=15,
        series={of_agent("marked_victims_total", 'stage="error", reason="denied"'): "0x10 1x10"},
        fires=NODE | {"reason": "denied"},
    ),
    "a mark that was made": Case(
        alert=FAILED,
        minute=15,
        series={
            of_agent("marked_victims_total", 'stage="error", reason="denied"'): "0x20",
            of_agent("marked_victims_total", 'stage="marked", reason="annotation_applied"'): "0x10 1x10",
        },
    ),
    "marked for more than an hour": Case(
        alert=NOT_EVICTED, minute=70, series={of_agent("marked_pods"): "0x5 1x80"}, fires=NODE
    ),
    "marked for half an hour": Case(
        alert=NOT_EVICTED, minute=70, series={of_agent("marked_pods"): "1x30 0x9 1x40"}
    ),
}


@pytest.fixture(scope="module")
def rule_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as Prometheus reads them."""
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return path


def test_the_rules_are_valid(rule_file: Path) -> None:
    """Promtool takes the rules and has nothing to remark."""
    done = subprocess.run(
        [promtool(), "check", "rules", "--lint=all", "--lint-fatal", rule_file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_alerts(name: str, rule_file: Path, tmp_path: Path) -> None:
    """The alert fires with its labels and its text, or it does not."""
    case = CASES[name]
    expected = []
    if case.fires is not None:
        rule = RULES[case.alert]
        annotations = {key: rendered(text, case.fires) for key, text in rule["annotations"].items()}
        expected = [{"exp_labels": case.fires | rule["labels"], "exp_annotations": annotations}]
    trial = {
        "rule_files": [str(rule_file)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": value} for key, value in case.series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": expected}
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(trial))
    done = subprocess.run(
        [promtool(), "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rendered(text: str, labels: dict[str, str]) -> str:
    """The text with its labels filled in; one that the alert does not have is an error here, not an empty word."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)


def test_every_alert_is_tried_both_ways() -> None:
    """There is a case in which an alert fires, and one in which it does not, for each."""
    assert {case.alert for case in CASES.values() if case.fires} == set(RULES)
    assert {case.alert for case in CASES.values() if not case.fires} == set(RULES)


def metrics_of_the_readme() -> dict[str, set[str]]:
    """Each metric with its labels; a test of the documentation compares that table with the program."""
    rows = re.findall(
        r"^\| `(oom_tracer_\w+)` \| \w+ \|([^|]*)\|", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


@pytest.mark.parametrize("alert", RULES)
def test_alerts_use_metrics_that_exist(alert: str) -> None:
    """Metrics in an expression are the program's, and labels that it selects by are labels that they have."""
    known = metrics_of_the_readme()
    expression = RULES[alert]["expr"]
    used = set(re.findall(r"oom_tracer_\w+", expression))
    assert used or alert == DOWN
    assert used <= set(known)
    for name, matchers in re.findall(r"(oom_tracer_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= known[name]


def test_every_alert_says_what_and_how_bad() -> None:
    """Every alert has a severity, a summary of one line and a description."""
    for rule in RULES.values():
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert "\n" not in rule["annotations"]["summary"]


def test_the_metrics_keep_their_labels() -> None:
    """The victim's namespace, pod and container are not renamed, and every series tells its node."""
    [endpoint] = overlay("monitoring").one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    assert endpoint["relabelings"] == [
        {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    ]

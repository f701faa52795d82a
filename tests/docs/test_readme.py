"""The documentation against the program: what it names exists, and what exists is named."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import subprocess
import sys
import types
import typing
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

import oomtracer.errors
from oomtracer.config import PodMetrics
from oomtracer.events import OomReport
from oomtracer.journal import Journal
from oomtracer.kube.trouble import Trouble
from oomtracer.sinks.cluster_metrics import ClusterMetrics, ClusterSources, Latencies
from oomtracer.sinks.journal_metrics import JournalMetrics
from oomtracer.sinks.jsonl import to_json
from oomtracer.sinks.kube_events import DROP_REASONS
from oomtracer.sinks.mark import LATENCY_BUCKETS_S, all_outcomes
from oomtracer.sinks.metrics import MAX_UNITS, Metrics, Sources
from oomtracer.sinks.pod_metrics import PodKills
from oomtracer.tracer import HOOKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
# Of the tests; the program does not know them.
TEST_VARIABLES = {"OOMTRACER_KERNEL_TESTS", "OOMTRACER_EXPECTED_HOOKS"}
# The same keys as below `workload`, where they are told.
REPEATED = "trigger.workload."


def ask(*arguments: str) -> str:
    """What the program writes."""
    done = subprocess.run(
        [sys.executable, "-m", "oomtracer", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "HOME": "/nonexistent"},
        timeout=60,
    )
    return done.stdout


@cache
def commands() -> tuple[str, ...]:
    """The commands, by the program's own help."""
    listed = ask("--help").partition("Commands:")[2]
    return tuple(re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE))


@cache
def help_of(command: str) -> str:
    """The help of one command."""
    return ask(command, "--help")


def flags_of(command: str) -> set[str]:
    """Its flags."""
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", help_of(command), re.MULTILINE))


def defaults_of(command: str) -> dict[str, str]:
    """Each flag's default, as far as its help tells one."""
    unwrapped = re.sub(r"-\n +", "-", help_of(command))
    options = re.split(r"^  (?=-)", unwrapped, flags=re.MULTILINE)[1:]
    told = ((option.split()[0], re.search(r"default:\s+([^\];]+)\]", option)) for option in options)
    return {flag: found[1] for flag, found in told if found}


def all_flags() -> set[str]:
    """The flags of all commands."""
    return set().union(*(flags_of(command) for command in commands()))


def negations() -> set[str]:
    """The other form of those that are on or off."""
    return {flag for command in commands() for flag in re.findall(r"/ (--no-[a-z-]+)", help_of(command))}


def all_variables() -> set[str]:
    """The environment variables of all commands."""
    return {name for command in commands() for name in re.findall(r"OOMTRACER_[A-Z_]+", help_of(command))}


def table(header: str) -> list[list[str]]:
    """The rows of the README's table whose first line begins with ``header``."""
    body = README.partition(f"\n| {header} |")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[2:]]


def code(cell: str) -> str:
    """The first thing between backticks."""
    return cell.split("`")[1]


def sample(kind: Any) -> Any:
    """Any value of a type of ``events``, with nothing left out."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return sample(next(each for each in arguments if each is not type(None)))
    if origin is tuple:
        return (sample(arguments[0]),)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: sample(hints[field.name]) for field in dataclasses.fields(kind)})
    return next(iter(kind)) if issubclass(kind, enum.Enum) else kind()


def paths(value: Any, prefix: str = "") -> set[str]:
    """The keys of a JSON value, as the README writes them: ``limit.owner``, ``levels[].cgroup``."""
    if isinstance(value, (list, tuple)):
        return set().union(*(paths(each, f"{prefix}[]") for each in value))
    if not isinstance(value, dict):
        return set()
    dot = "." if prefix else ""
    return {f"{prefix}{dot}{key}" for key in value}.union(
        *(paths(each, f"{prefix}{dot}{key}") for key, each in value.items())
    )


def report_keys() -> set[str]:
    """Every key that a report can have."""
    return {key for key in paths(to_json(sample(OomReport))) if not key.startswith(REPEATED)}


def host_metrics() -> Metrics:
    """The metrics of an agent without a cluster that has seen nothing."""
    sources = Sources(
        version="1",
        libbpf="v1",
        events=lambda: {("observed", "ebpf_capture"): 0},
        lost=lambda: dict.fromkeys(stages(), 0),
        hooks=lambda: {hook.name: True for hook in HOOKS},
        kernel_kills=lambda: 0,
        connections=lambda: dict.fromkeys(("accepted", "evicted", "refused"), 0),
        **dict.fromkeys(plain_counts(), lambda: 0),
    )
    return Metrics(sources)


def cluster_metrics() -> Metrics:
    """The metrics of one with marks and Events that has seen nothing; its events_total has all stages."""
    told = ("sent", "updated", *DROP_REASONS)
    verbs = ("list", "watch")
    sources = ClusterSources(
        marked=lambda: dict.fromkeys(all_outcomes(), 0),
        mark_latencies=lambda: Latencies(
            bounds_s=LATENCY_BUCKETS_S, counts=[0] * (len(LATENCY_BUCKETS_S) + 1), sum_s=0.0
        ),
        is_fenced=lambda: False,
        is_in_contact=lambda: False,
        kube_events=lambda: dict.fromkeys(told, 0),
        pod_requests=lambda: dict.fromkeys(verbs, 0),
        pod_request_errors=lambda: {kind.value: 0 for kind in Trouble},
        **dict.fromkeys(
            (
                *("pending_marks", "marked_pods", "pending_kube_events", "pods", "waiting_for_names"),
                *("missed_pod_changes", "last_sync_s"),
            ),
            lambda: 0,
        ),
    )
    metrics = host_metrics()
    metrics.add(ClusterMetrics(sources), PodKills(lambda: (), PodMetrics.ALL))
    return metrics


def journal_metrics() -> JournalMetrics:
    """Those of a journal that has seen nothing."""
    quiet = {"fault": "", "in_memory": 0, "deferred_total": 0}
    counts = {key: {} for key in ("dropped_total", "set_aside", "evicted_total")}
    return JournalMetrics(cast("Journal", SimpleNamespace(**quiet, **counts)))


def series(metrics: Metrics) -> list[str]:
    """The lines of the page that are numbers."""
    return [line for line in page_of(metrics).splitlines() if line and not line.startswith("#")]


def page_of(metrics: Metrics) -> str:
    """What Prometheus gets."""
    return metrics.page("text/plain")[0].decode()


def plain_counts() -> list[str]:
    """The sources that are asked for one number."""
    other = {"version", "libbpf", "lost", "hooks", "kernel_kills", "connections", "events"}
    return [field.name for field in dataclasses.fields(Sources) if field.name not in other]


def stages() -> list[str]:
    """Where reports can be lost, by the README."""
    [row] = [row for row in table("metric") if "lost_events" in row[0]]
    return re.findall(r"`([a-z_]+)`", row[3])


def make_targets() -> set[str]:
    """The targets that the Makefile declares."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    return set(phony[1].split())


def without_output(text: str) -> str:
    """A document without its samples of output; of a session in a terminal the commands stay."""
    text = re.sub(r"^```(?:text|json)\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(
        r"^```console\n(.*?)^```$",
        lambda block: "\n".join(
            f"`{line[2:]}`" for line in block[1].splitlines() if line[:2] in ("# ", "$ ")
        ),
        text,
        flags=re.MULTILINE | re.DOTALL,
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_exists(path: Path) -> None:
    """Commands, flags, variables and make targets in the documents are the program's and the Makefile's."""
    text = without_output(path.read_text())
    snippets = re.findall(r"`[^`\n]+`|^```[a-z]*\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    spoken = re.sub(r"^`?(docker|podman) .*$", "", "\n".join(snippets), flags=re.MULTILINE)
    assert set(re.findall(r"\boomtracer ([a-z]+)", spoken)) <= set(commands())
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", spoken)) <= {
        "--version",
        *all_flags(),
        *negations(),
        *builder_flags(),
    }
    assert set(re.findall(r"OOMTRACER_[A-Z_]+", text)) <= all_variables() | TEST_VARIABLES
    assert set(re.findall(r"\bmake ([a-z]+)", spoken)) <= make_targets()


def builder_flags() -> set[str]:
    """The flags of build_bpf.py."""
    done = subprocess.run(
        [sys.executable, ROOT / "build_bpf.py", "headers", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"--[a-z]+", done.stdout))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    """A relative link leads to a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", without_output(path.read_text()))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def test_every_command_is_told() -> None:
    """The table of commands has those of the program, no fewer and no more."""
    assert sorted(code(row[0]).removeprefix("oomtracer ") for row in table("command")) == sorted(commands())


def test_every_flag_is_told() -> None:
    """The table of flags has each flag with its variable and the commands that take it."""
    told = {code(row[0]): (code(row[1]), set(row[2].split(", "))) for row in table("flag")}
    taken = {
        flag: (
            "OOMTRACER_" + flag.removeprefix("--").upper().replace("-", "_"),
            {command for command in commands() if flag in flags_of(command)},
        )
        for flag in all_flags() - {"--help"}
    }
    assert told == taken
    assert {variable for variable, _ in told.values()} == all_variables()


def test_defaults_are_told() -> None:
    """Where a command's help tells a default, the table of flags has it."""
    told = {code(row[0]): row[3] for row in table("flag")}
    for command in commands():
        for flag, default in defaults_of(command).items():
            words = {"host name": "the host name"}.get(default, f"`{default}`")
            assert words in told[flag], f"{command} {flag}"


def test_every_exit_code_is_told() -> None:
    """The table of exit codes has 0 and those of the errors."""
    errors = [each for each in vars(oomtracer.errors).values() if isinstance(each, type)]
    codes = {each.exit_code for each in errors if issubclass(each, oomtracer.errors.OomTracerError)}
    assert {int(row[0]) for row in table("exit code")} == codes | {0}


def test_every_report_key_is_told() -> None:
    """The table of the report has exactly the keys of the program, each once."""
    told = [code(row[0]) for row in table("key")]
    assert len(told) == len(set(told))
    assert set(told) == report_keys()


def test_the_values_of_a_report_are_told() -> None:
    """Every value of an enumeration that a report can have stands in its key's row."""
    rows = {code(row[0]): row[3] for row in table("key")}
    hints = typing.get_type_hints(OomReport)
    for key in ("source", "outcome", "scope"):
        for value in hints[key]:
            assert f"`{value}`" in rows[key]
    events = sys.modules[OomReport.__module__]
    for key, kind in (
        ("limit.owner", events.LimitOwner),
        ("workload.kind", events.WorkloadKind),
        ("workload.runtime", events.Runtime),
    ):
        assert [value for value in kind if f"`{value}`" not in rows[key]] == []


def test_every_metric_is_told() -> None:
    """The table of metrics has the program's, with their types and labels."""
    metrics = cluster_metrics()
    metrics.add(journal_metrics())
    families = [
        family
        for family in text_string_to_metric_families(page_of(metrics))
        if family.name.startswith("oom_tracer_")
    ]
    told = {code(row[0]): row[1] for row in table("metric")}
    assert told == {
        family.name + ("_total" if family.type == "counter" else ""): family.type for family in families
    }
    labels = {
        code(row[0]).removesuffix("_total"): set(re.findall(r"`(\w+)`", row[2])) for row in table("metric")
    }
    for family in families:
        found = {name for sample_ in family.samples for name in sample_.labels} - {"le"}
        assert not family.samples or found == labels[family.name], family.name


def test_the_number_of_series_is_told() -> None:
    """The formulas count the series of an agent that has seen no kill, without and with a cluster."""
    counts = [len(series(metrics)) for metrics in (host_metrics(), cluster_metrics())]
    # Besides what the half itself counts: the four stages of events_total that only a cluster has.
    more_stages = 4
    found = re.search(r"\*\*(\d+) \+ U\*\*.*?at\s+most (\d+)\b.*?\*\*(\d+) more\*\*", README, re.DOTALL)
    assert found
    assert (int(found[1]), int(found[2])) == (counts[0], MAX_UNITS + 1)
    assert int(found[3]) == counts[1] - counts[0] + more_stages
    with_journal = host_metrics()
    with_journal.add(journal_metrics())
    told = re.search(r"journal adds \*\*(\d+)\*\*", README)
    assert told
    assert int(told[1]) == len(series(with_journal)) - counts[0]


def test_every_hook_is_told() -> None:
    """The README's table of hooks is the hook table."""
    assert [(row[0], code(row[1]), row[3].startswith("yes")) for row in table("group")] == [
        (hook.group, hook.name, hook.required) for hook in HOOKS
    ]


def test_the_example_is_a_report() -> None:
    """The JSON in the README has every key of a report and is valid by the published schema."""
    [example] = re.findall(r"^```json\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    report = json.loads(example)
    jsonschema.validate(report, json.loads((ROOT / "docs/oom-report.schema.json").read_text()))
    assert list(report) == list(to_json(sample(OomReport)))


def test_every_decision_has_its_parts() -> None:
    """Decision notes are numbered without a gap, and tell context, choice and price."""
    notes = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(note.name[:4]) for note in notes] == list(range(1, len(notes) + 1))
    for number, note in enumerate(notes, start=1):
        text = note.read_text()
        assert text.startswith(f"# {number}. ")
        assert all(f"**{part}" in text for part in ("Context.", "Choice", "Price."))


def test_every_file_has_its_line() -> None:
    """The layout in DEVELOPMENT.md names what the repository has, and nothing else."""
    text = (ROOT / "docs/DEVELOPMENT.md").read_text()
    layout = text.partition("\n## Layout\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", layout, re.MULTILINE)
    assert [name for name in named if not list(ROOT.glob(name))] == []
    modules = {path.name for path in (ROOT / "oomtracer").iterdir() if path.suffix == ".py"}
    packages = {f"{path.parent.name}/" for path in (ROOT / "oomtracer").glob("*/__init__.py")}
    tests = {f"{path.name}/" for path in (ROOT / "tests").iterdir() if list(path.glob("test_*.py"))}
    told = {name.removeprefix("oomtracer/").removeprefix("tests/") for name in named}
    assert modules - told <= {"__init__.py", "__main__.py"}
    assert (packages | tests) - told == set()

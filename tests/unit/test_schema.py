from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from oomtracer import events
from oomtracer.pipeline import Attributor, Pipeline
from oomtracer.sinks.jsonl import SCHEMA, json_line

from . import builders, records, stacks, strategies
from .builders import BOOT_ID, examples
from .test_pipeline import handle

PATH = Path(__file__).parents[2] / "docs" / "oom-report.schema.json"
PUBLISHED = json.loads(PATH.read_text(encoding="ascii"))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Walk through every object with properties, at any depth."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


def strict() -> Draft202012Validator:
    """Make a validator that knows no key but the documented ones."""
    closed = deepcopy(PUBLISHED)
    for one in objects(closed):
        one["additionalProperties"] = False
    return Draft202012Validator(closed)


STRICT = strict()


def enum(*path: str) -> set[str]:
    """Find the values that the schema allows at a path of keys."""
    node = PUBLISHED
    for name in path:
        node = node["properties"][name]
        node = PUBLISHED["$defs"]["workload"] if "$ref" in node else node
    return set(node["enum"]) - {None}


def test_the_schema_is_one():
    """The published file is a valid schema of its own draft, for the version that the program writes."""
    Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == PUBLISHED["title"] == SCHEMA


def test_every_key_is_required_and_described():
    """No key may be missing from a report, and none is published without a word on its meaning."""
    for one in objects(PUBLISHED):
        assert one["required"] == list(one["properties"])
        for name, value in one["properties"].items():
            assert value.get("description"), name
            unit = {"bytes": "bytes", "ns": "nanoseconds"}.get(name.rpartition("_")[2], "")
            assert unit in value["description"], name


def test_readers_may_meet_more_keys():
    """Version 1 only gains keys: one that is not known yet is no error."""
    assert not any("additionalProperties" in one for one in objects(PUBLISHED))
    report = json.loads(json_line(builders.report())) | {"later": 1}
    Draft202012Validator(PUBLISHED).validate(report)
    assert not STRICT.is_valid(report)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (events.Outcome, ("outcome",)),
        (events.Scope, ("scope",)),
        (events.LimitOwner, ("limit", "owner")),
        (events.WorkloadKind, ("workload", "kind")),
        (events.Runtime, ("workload", "runtime")),
    ],
)
def test_enumerations_are_the_programs_own(kind: type[StrEnum], path):
    """Each published enumeration has the values that the program can write, and no others."""
    assert enum(*path) == set(kind)


def test_every_source_is_published():
    """The hooks that exist today are among the published ones."""
    assert set(events.Source) <= enum("source")


@given(strategies.reports())
@examples(150)
def test_every_report_validates_and_has_no_undocumented_key(report):
    """Whatever a report holds, it fits the schema, and no key of it is missing there."""
    STRICT.validate(json.loads(json_line(report)))


@given(st.lists(records.valid(), max_size=3))
@examples(60)
def test_every_record_leads_to_a_valid_report(many):
    """From the kernel's bytes to the line: what the pipeline makes of any record fits the schema."""
    reports = []

    class Sink:
        def emit(self, report):
            reports.append(report)

    attributor = Attributor(boot_id=BOOT_ID, node="n", symbols=Named(), memory_nodes=2)
    pipeline = Pipeline(attributor, [Sink()])
    for data in many:
        handle(pipeline, data)
    for report in reports:
        line = json.loads(json_line(report))
        line["victim"]["oom_score_adj"] = 0  # any number in a record, -1000 to 1000 in a kernel
        line["order"] = None
        STRICT.validate(line)


class Named:
    """Symbols for any address: known, unknown, and the OOM killer's own."""

    def name(self, address: int) -> str | None:
        """Choose by the address."""
        return (None, *stacks.MEMCG)[address % (len(stacks.MEMCG) + 1)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("time", "2026-03-01 12:34:56.789012Z"),
        ("time", "2026-03-01T12:34:56Z"),
        ("time", "2026-03-01T12:34:56.789012+00:00"),
        ("id", "4242"),
        ("kernel_stack", ["ffffffff81000000"]),
        ("kernel_stack", ["a b+0x1"]),
        ("scope", "none"),
        ("boot_time_ns", -1),
        ("boot_time_ns", None),
        ("victim", None),
        ("levels", None),
        ("sysrq", "false"),
    ],
)
def test_the_schema_refuses_what_is_wrong(key, value):
    """The patterns and types hold: a wrong value is no report."""
    report = json.loads(json_line(builders.report()))
    STRICT.validate(report)
    assert not STRICT.is_valid(report | {key: value})
    del report[key]
    assert not STRICT.is_valid(report)

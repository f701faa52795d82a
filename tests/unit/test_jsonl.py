from __future__ import annotations

import json
from dataclasses import asdict

from hypothesis import given

from oomtracer.sinks.jsonl import JsonLines, json_line

from . import builders, strategies
from .builders import HOSTILE, examples

KEYS = (
    *("schema", "id", "time", "boot_time_ns", "node", "source", "outcome", "selftest", "scope", "sysrq"),
    *("victim", "trigger", "limit", "levels", "group", "incident", "order", "gfp_mask", "kernel_stack"),
    *("workload", "init_died", "shared_memory"),
)


@given(strategies.reports())
@examples(200)
def test_a_report_is_one_line_of_ascii(report):
    """Nothing in a name can end the line, leave ASCII or steer a terminal."""
    line = json_line(report)
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])


@given(strategies.reports())
@examples(200)
def test_a_line_read_again_holds_every_value(report):
    """Names, sizes and unknowns come back as they were."""
    told = json.loads(json_line(report))
    assert tuple(told) == KEYS
    assert told["victim"] == asdict(report.victim)
    assert told["workload"] == asdict(report.workload)
    assert told["levels"] == [asdict(level) for level in report.levels]
    assert told["limit"] == (report.limit and asdict(report.limit))
    assert told["kernel_stack"] == (None if report.kernel_stack is None else list(report.kernel_stack))
    for key in ("id", "time", "boot_time_ns", "node", "selftest", "sysrq", "order", "gfp_mask", "init_died"):
        assert told[key] == getattr(report, key)


def test_a_missing_trigger_is_null_and_a_missing_workload_too():
    """Unknown is null at every depth, and keys are always there."""
    told = json.loads(json_line(builders.report(trigger=None, limit=None, kernel_stack=None)))
    assert (told["trigger"], told["limit"], told["kernel_stack"], told["group"]) == (None,) * 4
    told = json.loads(json_line(builders.report(trigger_workload=None)))
    assert told["trigger"] == {"pid": 4242, "comm": "shop", "cgroup": builders.SERVICE, "workload": None}


def test_hostile_names_cannot_forge_a_second_report():
    """A name that holds a whole report stays a string within its own."""
    forged = '"}\n{"schema": "oomtracer/v1", "id": "forged"}'
    for name in (forged, *HOSTILE):
        lines = json_line(builders.report(victim=builders.victim(comm=name))).splitlines()
        assert len(lines) == 1
        assert json.loads(lines[0])["victim"]["comm"] == name


def test_the_sink_writes_the_line():
    """One report, one line to the writer."""
    written = []

    class Writer:
        def write(self, report: bytes, on_written: object) -> None:
            written.append(report)

    JsonLines(Writer()).emit(builders.report())
    assert written == [json_line(builders.report())]

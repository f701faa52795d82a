"""Reports of any content, as choices: their JSON line and their block of text."""

from __future__ import annotations

import json
from random import Random

from oomtracer.sinks.console import block
from oomtracer.sinks.jsonl import json_line, to_json
from tests.unit.builders import unfit

from . import things
from .choices import Choices


def generate(random: Random) -> bytes:
    """Make choices."""
    return random.randbytes(random.choice((20, 100, 200)))


def check(data: bytes) -> None:
    """One line of ASCII that says everything, and lines of text that no content can fake."""
    report = things.report(Choices(data))
    line = json_line(report)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line[:-1].decode("ascii").isprintable()
    document = to_json(report)
    read = json.loads(line)
    assert read["kernel_stack"] == (None if report.kernel_stack is None else list(report.kernel_stack))
    assert {**read, "kernel_stack": None} == {**document, "kernel_stack": None}
    _check_block(block(report), report.time)


def _check_block(text: str, time: str) -> None:
    head, *rows = text.removesuffix("\n\n").split("\n")
    assert text.endswith("\n\n")
    assert head.startswith(f"{time} OOM ")
    assert all(row.startswith("  ") for row in rows)
    assert not unfit(text.replace("\n", ""))

"""``oomtracer check`` on this machine."""

from __future__ import annotations

import json
import platform

import pytest

from tests.kernel.agent import run_oomtracer, with_mounts
from tests.kernel.programs import loaded, wait_for_none_but


def test_check_says_what_this_machine_has() -> None:
    """Every part is told, each with a status, and the verdict with the exit code."""
    result = run_oomtracer("check", "--output", "json")
    assert result.returncode == 0
    told = json.loads(result.stdout)
    assert told["can_trace"] is True
    rows = {row["subject"]: row for row in told["checks"]}
    assert platform.release() in rows["kernel"]["found"]
    assert rows["load"]["status"] == "ok"
    assert "mark_victim" in rows["hook: victim"]["found"]
    assert "signal_generate" in rows["hook: truth"]["found"]


@pytest.mark.any_kernel
def test_text_and_json_say_the_same() -> None:
    """The table for people has a line for each row of the JSON, and the verdict."""
    rows = json.loads(run_oomtracer("check", "--output", "json").stdout)["checks"]
    lines = run_oomtracer("check").stdout.splitlines()
    for row in rows:
        assert any(line.startswith(row["subject"]) and row["status"] in line for line in lines)
    assert lines[-1] == "OOM kills can be traced here"


def test_without_btf_it_says_so() -> None:
    """A kernel without type information (here: /sys hidden) is told as such, by check and by run."""
    prefix = with_mounts("mount -t tmpfs none /sys/kernel")
    check = run_oomtracer("check", prefix=prefix)
    assert check.returncode == 3
    assert "BTF" in check.stdout
    run = run_oomtracer("run", prefix=prefix)
    assert run.returncode == 3
    assert run.stderr.splitlines()[0].startswith("error: this kernel has no BTF")
    assert run.stderr.splitlines()[1].startswith("hint: ")


@pytest.mark.any_kernel
def test_programs_are_gone_after_check() -> None:
    """Check loads and attaches for real, and leaves nothing in the kernel."""
    before = loaded()
    run_oomtracer("check")
    wait_for_none_but(before)

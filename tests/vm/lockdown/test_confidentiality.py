"""A kernel that is locked down against reading its memory: the agent works, or says exactly why it cannot."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kernel.agent import run_oomtracer

LOCKDOWN = Path("/sys/kernel/security/lockdown")


def test_the_kernel_is_locked_down() -> None:
    """Otherwise the tests below would show nothing."""
    assert "[confidentiality]" in LOCKDOWN.read_text()


def test_run_says_why_it_cannot() -> None:
    """Exit 3, and two lines: what the kernel refused, and that lockdown is why."""
    result = run_oomtracer("run")
    assert result.returncode == 3
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: cannot load")
    assert "lockdown" in hint
    assert "confidentiality" in hint


def test_check_says_so_too() -> None:
    """The row of the load is missing with the same hint, and the mode has a row of its own."""
    result = run_oomtracer("check", "--output", "json")
    assert result.returncode == 3
    rows = {row["subject"]: row for row in json.loads(result.stdout)["checks"]}
    assert rows["lockdown"]["found"] == "confidentiality"
    assert rows["load"]["status"] == "missing"
    assert "confidentiality" in rows["load"]["hint"]

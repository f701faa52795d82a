"""Pins that cannot be, and two agents at once, with whole agents: tracing goes on, or says in two lines why not."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agent import Agent, run_oomtracer
from tests.kernel.kept import SERVED, history, ids, kept_in, pinned_in, rest_of_log, value_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow

NOBODY = 65534


@pytest.fixture
def unusable(request: pytest.FixtureRequest, tmp_path: Path, bpffs: Path) -> Path:
    """A pin path that cannot be used, in the way that the test asks for."""
    path = bpffs / "oomtracer"
    if request.param == "no directory":
        return tmp_path / "missing" / "oomtracer"
    if request.param == "no bpffs":
        return tmp_path / "oomtracer"
    if request.param == "another user's":
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, NOBODY)
    else:
        subprocess.run(["mount", "-o", "remount,ro", bpffs], check=True)
    return path


@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        ("no directory", "is no directory"),
        ("no bpffs", "is on no bpffs"),
        ("another user's", f"it belongs to user {NOBODY}"),
        ("read-only", "EROFS"),
    ],
    indirect=["unusable"],
)
def test_it_goes_on_unpinned_and_says_so(
    tmp_path: Path, unusable: Path, cgroup: Cgroup, grow: Grow, why: str
) -> None:
    """In the log, as a metric and by ``check``; the journal is kept all the same."""
    with Agent(*kept_in(tmp_path / "state"), *pinned_in(unusable), *SERVED) as agent:
        told = agent.report_of(grow(cgroup))
        assert value_of(agent, "pinned") == 0
        assert agent.stop() == (0, [])
        [line] = [line for line in rest_of_log(agent).splitlines() if "cannot pin in" in line]
    assert why in line
    assert "kills are told only while this process lives" in line
    assert ids(history(tmp_path / "state")) == ids([told])
    if why != "EROFS":  # what may not be written is known once it is tried
        assert why in run_oomtracer("check", "--output", "text", *pinned_in(unusable)).stdout


@pytest.mark.parametrize("shared", ["state", "pins"])
def test_the_second_agent_names_the_first(
    tmp_path: Path, pin_path: Path, cgroup: Cgroup, grow: Grow, shared: str
) -> None:
    """Exit code 1 and two lines with the holder's pid; the first goes on, and once killed it holds nothing."""
    state = tmp_path / "state"
    flags = kept_in(state) if shared == "state" else pinned_in(pin_path)
    with Agent(*flags) as first:
        told = [first.report_of(grow(cgroup))]
        done = run_oomtracer("run", *flags)
        error, hint = [line for line in done.stderr.splitlines() if line.startswith(("error:", "hint:"))]
        assert done.returncode == 1
        assert error.endswith(f"is in use by process {first.pid}")
        assert str(state if shared == "state" else pin_path) in error
        assert hint == "hint: stop that oomtracer first, or give each one a directory of its own"
        told.append(first.report_of(grow(cgroup)))
        first.process.kill()
        first.process.wait()
        with Agent(*flags) as next_one:
            told.append(next_one.report_of(grow(cgroup)))
            assert next_one.stop() == (0, [])
    assert set(ids(told).values()) == {1}
    if shared == "state":
        assert ids(history(state)) == ids(told)

"""The real tools: there, and clear about it where they cannot be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy import tools


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        (tools.kubectl, ["version", "--client"], "Kustomize Version: v5"),
        (tools.promtool, ["--version"], "promtool, version"),
        (tools.prometheus, ["--version"], "prometheus, version"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_tool_runs(tool: object, arguments: list[str], says: str) -> None:
    """The programs of Debian's packages run on this machine without being installed."""
    path = tool()  # type: ignore[operator]
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=True)
    assert says in done.stdout + done.stderr


def test_nothing_is_fetched_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that is in the cache needs neither apt nor network."""
    (tmp_path / "promtool").touch()
    monkeypatch.setattr(tools, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert tools.promtool() == tmp_path / "promtool"


def test_it_says_what_to_do_without_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no apt, the error names the place where the programs could be put by hand."""
    monkeypatch.setattr(tools, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(tools.ToolError, match=f"put kubectl, promtool, prometheus into {tmp_path}"):
        tools.kubectl()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_it_tells_why_apt_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What apt has against a mirror that is not there is told, and nothing half-made stays."""
    monkeypatch.setattr(tools, "CACHE", tmp_path)
    monkeypatch.setattr(tools, "_mirror", lambda: f"file:{tmp_path}/no-mirror")
    with pytest.raises(tools.ToolError, match=r"apt-get update -qq failed: .*no-mirror"):
        tools.kubectl()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]

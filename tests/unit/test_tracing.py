from __future__ import annotations

import os
from pathlib import Path

import pytest

from oomtracer.kernel.tracing import has_event, has_kprobes


@pytest.mark.parametrize("mount", ["kernel/debug/tracing", "kernel/tracing"])
def test_an_event_is_there_where_tracefs_shows_it(tmp_path: Path, mount: str) -> None:
    """Below debugfs or of its own: the event's id is what opens it."""
    event = tmp_path / mount / "events/oom/mark_victim"
    event.mkdir(parents=True)
    assert not has_event("oom", "mark_victim", tmp_path)
    (event / "id").write_text("1")
    assert has_event("oom", "mark_victim", tmp_path)
    assert not has_event("oom", "other", tmp_path)


def test_debugfs_comes_first_as_for_libbpf(tmp_path: Path) -> None:
    """What libbpf does not look at is not there."""
    (tmp_path / "kernel/debug/tracing").mkdir(parents=True)
    event = tmp_path / "kernel/tracing/events/oom/mark_victim"
    event.mkdir(parents=True)
    (event / "id").write_text("1")
    assert not has_event("oom", "mark_victim", tmp_path)


def test_without_tracefs_there_is_no_event(tmp_path: Path) -> None:
    """The empty directory that it is mounted on shows nothing."""
    assert not has_event("oom", "mark_victim", tmp_path)
    (tmp_path / "kernel/tracing").mkdir(parents=True)
    assert not has_event("oom", "mark_victim", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_looked_at_is_not_there(tmp_path: Path) -> None:
    """Debugfs is root's alone on most hosts: for somebody else it shows no event, and that is no error."""
    (tmp_path / "kernel/debug/tracing/events/oom/mark_victim").mkdir(parents=True)
    (tmp_path / "kernel/debug").chmod(0o700)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        assert not has_event("oom", "mark_victim", tmp_path)
    finally:
        os.seteuid(0)


def test_kprobes_are_a_device_of_perf(tmp_path: Path) -> None:
    """Other devices without it mean that they are not built in; no devices at all mean nothing."""
    devices = tmp_path / "bus/event_source/devices"
    assert has_kprobes(tmp_path)
    (devices / "uprobe").mkdir(parents=True)
    assert not has_kprobes(tmp_path)
    (devices / "kprobe").mkdir()
    assert has_kprobes(tmp_path)

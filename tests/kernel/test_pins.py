"""Programs and rings that outlive their loader: nothing is lost between two agents, and nothing told twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oomtracer.libbpf import BpfMap
from tests.kernel.pinned import Loader, instances, pids
from tests.kernel.variants import TRACEFS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow


def test_kills_while_nobody_is_there_are_told_by_the_next_process_once(
    pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """The ring and the programs stay; who comes next goes on where the last one stopped.

    Of a hook that cannot be pinned the next one makes all anew: a kprobe of arm64 before Linux 5.15.
    """
    with Loader(pin_path) as first:
        seen = grow(cgroup)
        assert pids(first.read_all()) == [seen]
    missed = [grow(cgroup) for _ in range(3)]
    with Loader(pin_path) as second:
        assert (second.instance == first.instance) == (not first.started["unpinned"])
        assert pids(second.read_all()) == missed
    with Loader(pin_path) as third:
        assert pids(third.read_all()) == []
    assert instances(pin_path) == {third.instance}


def test_a_loader_that_is_killed_loses_nothing(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """What it had read and not released is read again; what it had released is not."""
    with Loader(pin_path) as first:
        stored = grow(cgroup)
        assert pids(first.read_all()) == [stored]
        read = grow(cgroup)
        assert pids(first.read_all(release=False)) == [read]
        first.kill()
    missed = grow(cgroup)
    with Loader(pin_path) as second:
        assert pids(second.read_all()) == [read, missed]


def test_who_adopts_knows_the_hooks_in_use(pin_path: Path) -> None:
    """The hooks are those that were attached when the pins were made; the others are ruled out with a reason."""
    with Loader(pin_path) as first:
        pass
    with Loader(pin_path) as second:
        assert second.instance == first.instance
        assert second.started["attached"] == first.started["attached"]
        assert {group for group, reason in second.started["reasons"].items() if reason} == {
            group for group, reason in first.started["reasons"].items() if reason
        }


def test_programs_go_quiet_without_a_reader(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Past the time without a reader kills are counted as unread; with the next reader they are recorded again."""
    with Loader(pin_path) as first:
        pass
    with BpfMap.pinned(pin_path / first.instance / "map_meta") as meta:
        about = meta.read("oom_meta")
        assert about.quiet_after_ns == 7 * 24 * 3600 * 10**9
        about.quiet_after_ns = 1
        meta.write(about)
    for _ in range(2):
        grow(cgroup)
    with Loader(pin_path) as second:
        assert second.instance == first.instance
        assert pids(second.read_all()) == []
        assert (second.count("unread"), second.count("lost")) == (2, 0)
        seen = grow(cgroup)
        assert pids(second.read_all()) == [seen]
        assert second.count("unread") == 2


def test_a_reader_is_seen_by_what_it_releases(pin_path: Path) -> None:
    """A release is a sign of life: the time without a reader starts anew."""
    with Loader(pin_path) as loader, BpfMap.pinned(pin_path / loader.instance / "map_meta") as meta:
        before = meta.read("oom_meta").read_ns
        loader.release()
        assert meta.read("oom_meta").read_ns > before


def test_the_second_of_two_is_told_who_has_the_directory(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Two readers of one ring would each lose what the other releases; the first one goes on undisturbed."""
    with Loader(pin_path) as first:
        with Loader(pin_path) as second:
            assert second.started["error"] == f"{pin_path} is in use by process {first.process.pid}"
            assert second.started["hint"]
        seen = grow(cgroup)
        assert pids(first.read_all()) == [seen]


def test_hooks_of_perf_events(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """A classic tracepoint is pinned where the kernel can (5.15); before, it ends with its loader and is made anew."""
    options = {"disabled_hooks": ["tp_btf/mark_victim", "tp_btf/mark_victim_pid"], "prefix": TRACEFS}
    with Loader(pin_path, **options) as first:
        if "error" in first.started:
            pytest.skip(first.started["error"])
        seen = grow(cgroup)
    missed = grow(cgroup)
    with Loader(pin_path, **options) as second:
        told = pids(second.read_all())
        if first.started["unpinned"]:
            assert told == [seen]
            assert second.instance != first.instance
        else:
            assert told == [seen, missed]
            assert second.instance == first.instance
        assert instances(pin_path) == {second.instance}

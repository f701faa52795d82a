"""Programs and rings that outlive their loader: nothing is lost between two agents, and nothing told twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oomtracer.libbpf import BpfMap
from tests.kernel.conftest import MIB
from tests.kernel.pinned import Loader, copy_as_another_build, instances, pids
from tests.kernel.test_storm import kernel_kills
from tests.kernel.variants import TRACEFS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow


@pytest.fixture(scope="module")
def another_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with an object of another build."""
    return copy_as_another_build(tmp_path_factory.mktemp("another"))


def test_kills_while_nobody_is_there_are_told_by_the_next_process_once(
    pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """The ring and the programs stay; who comes next goes on where the last one stopped."""
    with Loader(pin_path) as first:
        seen = grow(cgroup)
        assert pids(first.read_all()) == [seen]
    missed = [grow(cgroup) for _ in range(3)]
    with Loader(pin_path) as second:
        assert second.instance == first.instance
        assert pids(second.read_all()) == missed
    with Loader(pin_path) as third:
        assert pids(third.read_all()) == []
    assert instances(pin_path) == {first.instance}


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


@pytest.mark.parametrize("how", ["another build", "another ring size", "other hooks"])
def test_what_was_pinned_otherwise_is_replaced(
    pin_path: Path, cgroup: Cgroup, grow: Grow, another_build: Path, how: str
) -> None:
    """The old ring comes first, under its own name, and is gone once all of it is released."""
    with Loader(pin_path) as old:
        pass
    missed = [grow(cgroup) for _ in range(2)]
    other = {
        "another build": Loader(pin_path, package=another_build),
        "another ring size": Loader(pin_path, ring_size_bytes=MIB // 2),
        "other hooks": Loader(pin_path, disabled_hooks=["tp_btf/signal_generate"]),
    }[how]
    with other as new:
        later = grow(cgroup)
        assert [(batch.ring, batch.pids) for batch in new.read_all()] == [
            (old.instance, missed),
            (new.instance, [later]),
        ]
        assert instances(pin_path) == {new.instance}


def test_a_storm_over_many_replacements_is_told_whole(
    pin_path: Path, cgroup: Cgroup, grow: Grow, another_build: Path
) -> None:
    """Builds take turns, every other loader is killed with records unreleased: each kill is told."""
    with Loader(pin_path):
        before = kernel_kills()
    told: set[tuple[int, int]] = set()
    storms = []
    for turn in range(8):
        if not storms or storms[-1].poll() is not None:
            storms.append(grow.start(cgroup, "storm", 4 * MIB, "40"))
        with Loader(pin_path, package=another_build if turn % 2 else None) as loader:
            released = turn % 4 < 2
            batches = loader.read_all(release=released)
            if released:
                told.update(kill for batch in batches for kill in batch.kills)
            if turn % 3 == 0:
                loader.kill()
    for storm in storms:
        with storm:
            assert storm.wait(60) == 0
    with Loader(pin_path) as last:
        told.update(kill for batch in last.read_all() for kill in batch.kills)
        assert last.count("lost") == 0
    assert len(told) == kernel_kills() - before == 40 * len(storms)


@pytest.mark.parametrize("again", [True, False], ids=["same", "rolled back"])
def test_who_was_killed_over_a_replacement_leaves_two_for_the_next(
    pin_path: Path, cgroup: Cgroup, grow: Grow, another_build: Path, *, again: bool
) -> None:
    """Both rings are drained, oldest first; one instance is left, and what was stopped is not used again."""
    with Loader(pin_path) as old:
        first = grow(cgroup)
    with Loader(pin_path, package=another_build) as new:
        assert new.read().pids == [first]
        second = grow(cgroup)
        new.kill()
    assert instances(pin_path) == {old.instance, new.instance}
    third = grow(cgroup)
    with Loader(pin_path, package=another_build if again else None) as next_one:
        told = [(batch.ring, batch.pids) for batch in next_one.read_all()]
        assert told == [(old.instance, [first]), (new.instance, [second, third])]
        assert instances(pin_path) == {next_one.instance}
        assert (next_one.instance == new.instance) is again
        assert next_one.instance != old.instance


def test_pins_that_are_not_complete_are_drained_and_removed(
    pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """Who was killed while pinning has left no map_meta; what its programs have recorded is told all the same."""
    with Loader(pin_path) as killed:
        pass
    (pin_path / killed.instance / "map_meta").unlink()
    (pin_path / f"{1:016x}").mkdir()  # killed before the first pin
    missed = grow(cgroup)
    with Loader(pin_path) as loader:
        assert [(batch.ring, batch.pids) for batch in loader.read_all()] == [(killed.instance, [missed])]
        assert instances(pin_path) == {loader.instance}


def test_pins_whose_link_is_gone_are_replaced(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """An instance that lacks a program would say less for ever: it is drained, and another one takes its place."""
    with Loader(pin_path) as old:
        missed = grow(cgroup)
    next((pin_path / old.instance).glob("link_*")).unlink()
    with Loader(pin_path) as new:
        assert new.instance != old.instance
        assert pids(new.read_all()) == [missed]
        assert instances(pin_path) == {new.instance}


def test_what_a_replaced_ring_had_no_room_for_stays_counted(
    pin_path: Path, cgroup: Cgroup, grow: Grow, another_build: Path
) -> None:
    """Kills, told or lost, add up over a replacement, and over the one after it."""
    before = kernel_kills()
    with Loader(pin_path, ring_size_bytes=16 << 10):
        pass
    for _ in range(8):
        grow(cgroup)
    with Loader(pin_path, ring_size_bytes=16 << 10, package=another_build) as new:
        told = pids(new.read_all())
        assert new.count("lost") == kernel_kills() - before - len(told) > 0


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


def test_maps_of_another_build_may_be_shorter_or_longer(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """What is there is read, the rest is 0; a change leaves alone what only the map has."""
    with Loader(pin_path) as loader:
        grow(cgroup)
        directory = pin_path / loader.instance
    with (
        BpfMap.pinned(directory / "map_counters") as shorter,
        BpfMap.pinned(directory / "map_meta") as longer,
    ):
        as_meta = shorter.read("oom_meta")
        assert (as_meta.instance, as_meta.ring_bytes, as_meta.links) == (1, 0, 0)
        before = longer.read("oom_meta")
        beginning = longer.read("oom_counters")
        assert beginning.attempted == before.instance
        beginning.attempted = 0x1234
        longer.write(beginning)
        after = longer.read("oom_meta")
        assert (after.instance, after.ring_bytes, list(after.build)) == (
            0x1234,
            before.ring_bytes,
            list(before.build),
        )


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

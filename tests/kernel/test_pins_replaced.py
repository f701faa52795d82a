"""From one build to the next: what another one has pinned is drained and replaced, without a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oomtracer.libbpf import BpfMap
from tests.kernel.conftest import MIB
from tests.kernel.pinned import Loader, copy_as_another_build, instances, pids
from tests.kernel.programs import loaded
from tests.kernel.test_storm import kernel_kills
from tests.kernel.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow


@pytest.fixture(scope="module")
def another_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with an object of another build."""
    return copy_as_another_build(tmp_path_factory.mktemp("another"))


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
    with BpfMap.pinned(pin_path / old.instance / "map_counters") as counters:
        assert counters.read("oom_counters").attempted == 1
    with BpfMap.pinned(pin_path / old.instance / "map_meta") as meta:
        assert meta.read("oom_meta").replaced_ns > meta.read("oom_meta").created_ns
    assert instances(pin_path) == {old.instance, new.instance}
    third = grow(cgroup)
    with Loader(pin_path, package=another_build if again else None) as next_one:
        told = [(batch.ring, batch.pids) for batch in next_one.read_all()]
        assert told == [(old.instance, [first]), (new.instance, [second, third])]
        assert instances(pin_path) == {next_one.instance}
        assert (next_one.instance == new.instance) is again
        assert next_one.instance != old.instance


def test_a_replaced_ring_stays_until_all_of_it_is_released(
    pin_path: Path, cgroup: Cgroup, grow: Grow
) -> None:
    """More kills than one batch: killed after the first release, the rest is there for the next one."""
    with Loader(pin_path) as old:
        pass
    with grow.start(cgroup, "storm", 4 * MIB, "70") as storm:
        assert storm.wait(60) == 0
    with Loader(pin_path, ring_size_bytes=MIB // 2) as new:
        first = new.read().pids
        new.release()
        new.kill()
    with Loader(pin_path, ring_size_bytes=MIB // 2) as last:
        assert last.instance == new.instance
        [rest] = last.read_all()
    assert rest.ring == old.instance
    assert len({*first, *rest.pids}) == len(first) + len(rest.pids) == 70


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


def test_who_is_replaced_stands_still(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Its programs, until the kernel detaches them, record and count nothing: that is for the one in their place."""
    with Loader(pin_path) as old:
        seen = grow(cgroup)
    maps = pin_path / old.instance
    with BpfMap.pinned(maps / "map_meta") as meta, BpfMap.pinned(maps / "map_counters") as counters:
        about = meta.read("oom_meta")
        about.replaced_ns = 1
        meta.write(about)
        grow(cgroup)
        assert counters.read("oom_counters").attempted == 1
    with Loader(pin_path) as new:
        assert new.instance != old.instance
        assert pids(new.read_all()) == [seen]


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


def test_what_the_replaced_programs_had_missed_stays_missed(
    pin_path: Path, cgroup: Cgroup, grow: Grow, another_build: Path
) -> None:
    """It does not become "before the start" of those that take over: the audit finds it, and no more than that."""
    with Loader(pin_path) as old:
        before = kernel_kills()
        assert old.count("before_start") == before
    seen = [grow(cgroup) for _ in range(2)]
    programs = loaded()
    next((pin_path / old.instance).glob("link_mark_victim_*")).unlink()
    wait_until(lambda: loaded() < programs, "the program is gone")
    grow(cgroup)
    with Loader(pin_path, package=another_build) as new:
        assert pids(new.read_all()) == seen
        assert new.count("before_start") == before + 2
        assert kernel_kills() == before + 3
    with Loader(pin_path, package=another_build) as adopted:
        assert adopted.instance == new.instance
        assert adopted.count("before_start") == before + 2

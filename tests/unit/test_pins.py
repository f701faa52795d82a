from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oomtracer import unpin
from oomtracer.audit import Counters
from oomtracer.check import pins as check_pins
from oomtracer.check.pins import PinnedRow, PinState
from oomtracer.check.rows import Status
from oomtracer.config import parse_pin_path
from oomtracer.errors import UsageError
from oomtracer.kernel.namespaces import is_on_host
from oomtracer.tracer import HOOKS, SWITCHED_OFF, choose_hooks, pin_directory
from oomtracer.tracer.choice import NOT_PINNED
from oomtracer.tracer.pin_directory import (
    PinDirectory,
    PinFaultError,
    fault_of,
    instance_directories,
    require_no_others,
)
from oomtracer.tracer.pins import build_of, find
from oomtracer.unpin import UnpinResult

from .kernels import complete

NAME = "00c0ffee00c0ffee"


def used(programs: frozenset[str], disabled: frozenset[str] = frozenset()) -> dict[str, str | None]:
    """The hook in use of each group, where these programs' links were pinned."""
    choices = choose_hooks(complete(), disabled=disabled)
    return {each.group: each.hook and each.hook.name for each in [c.as_pinned(programs) for c in choices]}


def test_the_hooks_in_use_are_those_that_are_pinned():
    """Not those that would be chosen now: these may have been refused when the pins were made."""
    assert used(frozenset({"mark_victim_task", "out_of_memory_kprobe"})) == {
        "victim": "tp_btf/mark_victim",
        "truth": None,
        "context": "kprobe/out_of_memory",
    }


def test_a_hook_that_was_passed_over_is_ruled_out_with_the_way_to_try_it_again():
    """One that could be used now keeps the reason of then; what comes behind the one in use is the next choice."""
    context = choose_hooks(complete())[2].as_pinned(frozenset({"out_of_memory_kprobe"}))
    assert [each.reason for each in context.candidates] == [NOT_PINNED, ""]
    assert "unpin" in NOT_PINNED
    context = choose_hooks(complete())[2].as_pinned(frozenset({"out_of_memory_fentry"}))
    assert [each.reason for each in context.candidates] == ["", ""]


def test_what_was_switched_off_keeps_its_reason():
    """Whoever switched a hook off is told so."""
    disabled = frozenset({"fentry/out_of_memory"})
    context = choose_hooks(complete(), disabled=disabled)[2].as_pinned(frozenset())
    assert [each.reason for each in context.candidates] == [SWITCHED_OFF, NOT_PINNED]


def test_a_pinned_hook_is_in_use_whatever_the_kernel_seems_to_lack():
    """Its needs are asked for by a process that may see less than the one that attached it."""
    assert used(frozenset({"mark_victim_event"}), frozenset({"tracepoint/oom/mark_victim"}))["victim"] == (
        "tracepoint/oom/mark_victim"
    )


def test_losses_of_several_instances_add_up():
    """Each kind for itself."""
    assert Counters(1, 2, 3, 4).plus(Counters(10, 20, 30, 40)) == Counters(11, 22, 33, 44)


def test_the_build_is_the_object_and_how_it_is_loaded(tmp_path):
    """The same again is the same; any difference in what is recorded, or where, is another."""
    path = tmp_path / "object"
    path.write_bytes(b"one")
    first = build_of(path, ring_size_bytes=4096, disabled_hooks=frozenset({"a", "b"}))
    assert first == build_of(path, ring_size_bytes=4096, disabled_hooks=frozenset({"b", "a"}))
    others = {
        build_of(path, ring_size_bytes=8192, disabled_hooks=frozenset({"a", "b"})),
        build_of(path, ring_size_bytes=4096, disabled_hooks=frozenset({"a"})),
        build_of(path, ring_size_bytes=4096, disabled_hooks=frozenset()),
    }
    path.write_bytes(b"two")
    others.add(build_of(path, ring_size_bytes=4096, disabled_hooks=frozenset({"a", "b"})))
    assert len({first, *others}) == 5
    assert len(first) == 32


def test_instances_are_found_by_their_names(tmp_path):
    """Sixteen hexadecimal digits, a directory; what has no map_meta is not complete and comes without a time."""
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "link_mark_victim_task").touch()
    (tmp_path / f"{1:016x}").touch()
    assert instance_directories(tmp_path) == [tmp_path / NAME]
    [pins] = find(tmp_path)
    assert (pins.name, pins.programs, pins.created_ns, pins.is_whole) == (
        NAME,
        frozenset({"mark_victim_task"}),
        None,
        False,
    )
    assert pins.unread_kills() == 0


@pytest.mark.parametrize(
    "name", ["other", NAME.upper(), NAME + "0", f"{NAME}/other", f"{NAME}/map_", f"{NAME}/prog_x"]
)
def test_what_oomtracer_does_not_make_is_named(tmp_path, name):
    """Another program's pins in the same directory are neither used nor removed."""
    (tmp_path / NAME).mkdir(exist_ok=True)
    (tmp_path / NAME / "map_events").touch()
    require_no_others(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(PinFaultError) as told:
        require_no_others(tmp_path)
    assert told.value.message.endswith(f": {name}")


def test_looking_changes_nothing(tmp_path):
    """A directory that could not be used is neither made nor mounted over."""
    fault = fault_of(tmp_path / "pins")
    assert fault
    assert fault.message == f"cannot pin in {tmp_path / 'pins'}: {tmp_path} is on no bpffs"
    assert "mount -t bpf" in fault.hint
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bpffs_is_no_fault_where_it_would_be_mounted(monkeypatch):
    """On a host, as its administrator; and only below the place where every host has it."""
    monkeypatch.setattr(pin_directory, "is_on_host", lambda: True)
    monkeypatch.setattr(pin_directory, "effective_capabilities", lambda: frozenset(pin_directory.Capability))
    monkeypatch.setattr(pin_directory, "is_bpffs", lambda _path: False)
    assert fault_of(pin_directory.BPFFS / "oomtracer") is None
    assert fault_of(Path("/tmp/oomtracer")) is not None
    monkeypatch.setattr(pin_directory, "effective_capabilities", frozenset)
    assert fault_of(pin_directory.BPFFS / "oomtracer") is not None


def namespaces(proc: Path, *, first: str) -> Path:
    """Build a /proc in which this process is in a pid namespace and process 1 in this or another mount namespace."""
    for name in ("self/ns", "1/ns", "ns"):
        (proc / name).mkdir(parents=True)
    (proc / "ns/here").touch()
    (proc / "ns/there").touch()
    (proc / "self/ns/mnt").symlink_to(proc / "ns/here")
    (proc / "1/ns/mnt").symlink_to(proc / f"ns/{first}")
    (proc / "self/ns/pid").touch()
    return proc


@pytest.mark.parametrize(
    ("is_first", "first", "expected"), [(True, "here", True), (True, "there", False), (False, "here", False)]
)
def test_a_host_is_where_process_1_sees_the_same_mounts(tmp_path, monkeypatch, is_first, first, expected):
    """In a container, what is mounted is the container's alone; process 1 may be the container's too."""
    from oomtracer.kernel import namespaces as module

    proc = namespaces(tmp_path, first=first)
    number = (proc / "self/ns/pid").stat().st_ino
    monkeypatch.setattr(module, "_FIRST_PID_NAMESPACE", number if is_first else number + 1)
    assert is_on_host(proc) is expected


def test_where_namespaces_may_not_be_asked_for_it_is_no_host(tmp_path):
    """Nothing is mounted on a guess."""
    assert is_on_host(tmp_path) is False


def rows(state: PinState | None, unpinned=()) -> dict[str, tuple[Status, str]]:
    """What check tells, by subject."""
    return {row.subject: (row.status, row.found) for row in check_pins.rows(state, unpinned, kills=377)}


def test_check_tells_which_links_cannot_be_pinned():
    """Such a hook is no help while nobody is there: reduced, by name; where nothing was loaded nothing is said."""
    state = PinState(Path("/sys"))
    hook = replace(HOOKS[0], name="tracepoint/x")
    assert rows(state, (hook,))["pins: links"] == (
        Status.REDUCED,
        "cannot be pinned by this kernel: tracepoint/x",
    )
    assert rows(state)["pins: links"][0] is Status.OK
    assert "pins: links" not in rows(state, None)


def test_check_tells_what_the_ring_holds_and_for_how_long():
    """In kills and days: what an operator must know of a time without an agent."""
    found = rows(PinState(Path("/sys")))["pins: ring"][1]
    assert "377 kills" in found
    assert "7 days" in found


@pytest.mark.parametrize(
    ("row", "held_by", "expected"),
    [
        (PinnedRow(NAME, True, True, 3), None, f"{NAME}: this build; 3 kills wait to be read"),
        (PinnedRow(NAME, True, True, None), 812, f"{NAME}: this build; read by process 812"),
        (
            PinnedRow(NAME, False, True, 0),
            None,
            f"{NAME}: another build or other flags, to be replaced by the next `run`; 0 kills wait to be read",
        ),
        (
            PinnedRow(NAME, True, False, 0),
            None,
            f"{NAME}: not complete or replaced, to be removed by the next `run`; 0 kills wait to be read",
        ),
    ],
)
def test_check_tells_what_is_pinned_now(row, held_by, expected):
    """Which instance, whether it goes on with these flags, and who reads it."""
    state = PinState(Path("/sys"), None, held_by, (row,))
    assert rows(state)["pins: now"] == (Status.OK, expected)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (UnpinResult(pin_path="/p"), "nothing is pinned in /p\n"),
        (
            UnpinResult(pin_path="/p", instances=("a",), pins=5, unread_kills=2, directory_removed=True),
            "/p: 5 pins removed, 2 kills in them had not been read\n",
        ),
        (
            UnpinResult(pin_path="/p", instances=("a",), pins=5, unread_kills=None),
            "/p: 5 pins removed, an unknown number of kills in them had not been read; the directory is mounted, and stays\n",
        ),
    ],
)
def test_unpin_says_in_one_line_what_went(result, expected):
    """How many pins, and how many kills are lost by it."""
    assert unpin.as_text(result) == expected


@pytest.mark.parametrize("text", ["oomtracer", "./x", "/a/../b", "/a\0b"])
def test_a_directory_is_given_from_the_root_on(text):
    """A relative one would mean another directory for a service."""
    with pytest.raises(UsageError, match="--pin-path: ") as told:
        parse_pin_path(text)
    assert told.value.hint


def test_a_directory_is_taken_as_it_is():
    """No link is followed: whoever uses it decides."""
    assert parse_pin_path("/sys/fs/bpf/oomtracer/") == Path("/sys/fs/bpf/oomtracer")


def test_a_path_that_cannot_be_looked_at_is_a_fault(tmp_path):
    """As any other: the tracer goes on without pins. A name that is too long stands for a directory of root's."""
    with (
        pytest.raises(PinFaultError, match="cannot be looked at: ENAMETOOLONG"),
        PinDirectory(tmp_path / ("x" * 300)),
    ):
        pass

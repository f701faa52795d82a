"""``oomtracer unpin``, and what ``check`` tells of pins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.agent import run_oomtracer
from tests.kernel.pinned import Loader, copy_as_another_build, pids
from tests.kernel.test_privileges import loaded, wait_for_none_but

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cgroup, Grow

pytestmark = pytest.mark.any_kernel


def check(pin_path: Path, *flags: str) -> dict[str, Any]:
    """What it tells to machines; the rows by their subject."""
    done = run_oomtracer("check", "--output", "json", "--pin-path", str(pin_path), *flags)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    told["rows"] = {row["subject"]: row for row in told["checks"]}
    return told


def test_unpin_removes_everything_and_says_how_much(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Programs, maps and the directory go; kills that nobody had read are told. The second time there is nothing."""
    before = loaded()
    with Loader(pin_path) as loader:
        hooks = len(loader.started["attached"])
    for _ in range(2):
        grow(cgroup)
    done = run_oomtracer("unpin", "--pin-path", str(pin_path), "--output", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "pin_path": str(pin_path),
        "instances": [loader.instance],
        "pins": hooks + 3,
        "unread_kills": 2,
        "directory_removed": True,
    }
    assert not pin_path.exists()
    wait_for_none_but(before)
    again = run_oomtracer("unpin", "--pin-path", str(pin_path))
    assert (again.returncode, again.stdout) == (0, f"nothing is pinned in {pin_path}\n")


def test_unpin_removes_what_is_not_complete(pin_path: Path) -> None:
    """Two instances, one without its map_meta: both go, and people read it in one line."""
    with Loader(pin_path) as loader:
        pass
    (pin_path / loader.instance / "map_meta").unlink()
    (pin_path / f"{1:016x}").mkdir()
    done = run_oomtracer("unpin", "--pin-path", str(pin_path))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert "4 pins removed, 0 kills in them had not been read" in done.stdout
    assert not pin_path.exists()


def test_unpin_removes_what_cannot_be_opened(pin_path: Path, cgroup: Cgroup, grow: Grow) -> None:
    """Pins with the names of maps that are none: an agent leaves them, and says so; check tells it; unpin removes them."""
    with Loader(pin_path) as loader:
        pass
    directory = pin_path / loader.instance
    (directory / "map_meta").unlink()
    next(directory.glob("link_*")).rename(directory / "map_meta")
    with Loader(pin_path) as other:
        assert other.instance != loader.instance
        seen = grow(cgroup)
        assert pids(other.read_all()) == [seen]
    [broken] = [row for row in check(pin_path)["pin_path"]["pinned"] if row["fault"]]
    assert broken["instance"] == loader.instance
    done = run_oomtracer("unpin", "--pin-path", str(pin_path), "--output", "json")
    assert json.loads(done.stdout)["directory_removed"] is True
    assert not pin_path.exists()


def test_unpin_leaves_alone_what_an_agent_uses(pin_path: Path) -> None:
    """An error that names the process; the agent goes on."""
    with Loader(pin_path) as loader:
        done = run_oomtracer("unpin", "--pin-path", str(pin_path))
        assert done.returncode == 1
        error, hint = done.stderr.splitlines()
        assert error == f"error: {pin_path} is in use by process {loader.process.pid}"
        assert hint.startswith("hint: ")
        assert (pin_path / loader.instance / "map_meta").exists()


@pytest.mark.parametrize("name", ["other", "0123456789abcdef/other", "map_events"])
def test_unpin_removes_nothing_where_something_else_is(pin_path: Path, name: str) -> None:
    """What no oomtracer made is named, and all stays."""
    with Loader(pin_path) as loader:
        pass
    (pin_path / name).mkdir(parents=True)
    before = sorted(pin_path.rglob("*"))
    done = run_oomtracer("unpin", "--pin-path", str(pin_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].endswith(f"what oomtracer did not make: {name}")
    assert sorted(pin_path.rglob("*")) == before
    assert (pin_path / loader.instance).exists()


def test_unpin_of_a_directory_on_another_file_system_is_refused(tmp_path: Path) -> None:
    """An empty directory that was never for pins is not removed."""
    done = run_oomtracer("unpin", "--pin-path", str(tmp_path))
    assert done.returncode == 1
    assert "is on no bpffs" in done.stderr
    assert tmp_path.exists()


def test_check_tells_what_is_pinned(pin_path: Path, cgroup: Cgroup, grow: Grow, tmp_path: Path) -> None:
    """Nothing, then an instance that is read, one of this build with kills that wait, and one of another build."""
    empty = check(pin_path)
    assert empty["pin_path"] == {"path": str(pin_path), "fault": "", "held_by": None, "pinned": []}
    assert empty["rows"]["pins: now"]["found"] == "nothing is pinned"
    assert not pin_path.exists()
    with Loader(pin_path) as loader:
        row = {"instance": loader.instance, "same_build": True, "complete": True, "fault": ""}
        assert check(pin_path)["pin_path"] == {
            "path": str(pin_path),
            "fault": "",
            "held_by": loader.process.pid,
            "pinned": [{**row, "unread_kills": None}],
        }
    grow(cgroup)
    waiting = check(pin_path)
    assert waiting["pin_path"]["pinned"] == [{**row, "unread_kills": 1}]
    assert "1 kills wait" in waiting["rows"]["pins: now"]["found"]
    [other] = check(pin_path, "--ring-size", "512KiB")["pin_path"]["pinned"]
    assert other == {**row, "same_build": False, "unread_kills": 1}
    package = copy_as_another_build(tmp_path / "another")
    with Loader(pin_path, package=package) as loader:
        loader.read_all()
    [replaced] = check(pin_path)["pin_path"]["pinned"]
    assert replaced == {
        "instance": loader.instance,
        "same_build": False,
        "complete": True,
        "unread_kills": 0,
        "fault": "",
    }


def test_check_tells_why_nothing_can_be_pinned(tmp_path: Path) -> None:
    """A directory that cannot be used is no reason not to trace: reduced, with what to do."""
    told = check(tmp_path / "pins")
    assert told["can_trace"] is True
    assert "on no bpffs" in told["pin_path"]["fault"]
    row = told["rows"]["pins: bpffs"]
    assert (row["status"], row["found"]) == ("reduced", told["pin_path"]["fault"])
    assert "mount -t bpf" in row["hint"]
    assert list(tmp_path.iterdir()) == []


def test_check_without_a_directory_says_that_pins_are_off() -> None:
    """One row; null for machines."""
    told = json.loads(run_oomtracer("check", "--output", "json").stdout)
    assert told["pin_path"] is None
    [row] = [row for row in told["checks"] if row["subject"].startswith("pins")]
    assert (row["status"], row["found"].partition(":")[0]) == ("ok", "off")

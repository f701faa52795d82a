from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.journal.told import SLOTS, ToldFile, was_told
from tests.kernel.waiting import wait_until
from tests.unit.builders import examples

from .scene import tmpfs


def note(path: Path, ids: list[str]) -> None:
    """Note them, and wait until that is done."""
    opened = ToldFile(path)
    opened.known()
    for each in ids:
        opened.note(each)
    wait_until(lambda: not ids or was_told(ids[-1], ToldFile(path).known()), "noted")


def noted(path: Path) -> frozenset[bytes]:
    """What the next process finds."""
    return ToldFile(path).known()


@given(st.lists(st.text(max_size=80), max_size=20, unique=True), st.text(max_size=80))
@examples(30)
def test_what_was_noted_is_known_to_the_next_process(tmp_path_factory, ids, other):
    """Each of them, and no other."""
    path = tmp_path_factory.mktemp("told") / "told"
    note(path, ids)
    known = noted(path)
    assert all(was_told(each, known) for each in ids)
    assert was_told(other, known) == (other in ids)


def test_it_keeps_the_last_ones_in_a_file_of_one_size(tmp_path):
    """The oldest make room; the journal has known these for long."""
    note(tmp_path / "told", ["first"])
    size = (tmp_path / "told").stat().st_size
    ids = [str(number) for number in range(SLOTS)]
    note(tmp_path / "told", ids)
    known = noted(tmp_path / "told")
    assert [was_told(each, known) for each in ("first", "0", str(SLOTS - 1))] == [False, True, True]
    assert (tmp_path / "told").stat().st_size == size
    assert (tmp_path / "told").stat().st_mode & 0o777 == 0o600


def test_a_note_outlasts_the_process_that_made_it(tmp_path):
    """Killed without a flush or a commit."""
    path = tmp_path / "told"
    code = (
        "import pathlib, signal\n"
        "from oomtracer.journal.told import ToldFile\n"
        f"ToldFile(pathlib.Path({str(path)!r})).note('one')\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_until(lambda: path.exists() and was_told("one", noted(path)), "noted")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert was_told("one", noted(path))


def test_where_there_is_no_room_or_no_file_it_goes_without(tmp_path, caplog):
    """A warning, and nothing else happens to who notes."""
    if os.geteuid() == 0:
        with tmpfs(tmp_path / "small", "size=4k") as disk:
            opened = ToldFile(disk / "told")
            assert opened.known() == frozenset()
            opened.note("one")
    assert noted(tmp_path / "missing" / "told") == frozenset()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert noted(tmp_path / "link") == frozenset()
    assert not (tmp_path / "elsewhere").exists()
    assert caplog.records
    assert all("told again" in one.message for one in caplog.records)

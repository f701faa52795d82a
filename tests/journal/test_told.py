from __future__ import annotations

import os
import signal
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.journal.told import SLOTS, ToldFile, was_told
from tests.unit.builders import examples

from .scene import tmpfs


def noted(path) -> frozenset[bytes]:
    """What the next process finds."""
    opened = ToldFile.open(path)
    assert opened
    return opened.known()


@given(st.lists(st.text(max_size=80), max_size=40), st.text(max_size=80))
@examples(60)
def test_what_was_noted_is_known_to_the_next_process(tmp_path_factory, ids, other):
    """Each of them, and no other."""
    path = tmp_path_factory.mktemp("told") / "told"
    opened = ToldFile.open(path)
    assert opened
    for each in ids:
        opened.note(each)
    known = noted(path)
    assert all(was_told(each, known) for each in ids)
    assert was_told(other, known) == (other in ids)


def test_it_keeps_the_last_ones_in_a_file_of_one_size(tmp_path):
    """The oldest make room; the journal has known these for long."""
    opened = ToldFile.open(tmp_path / "told")
    assert opened
    size = (tmp_path / "told").stat().st_size
    for number in range(SLOTS + 10):
        opened.note(str(number))
    known = noted(tmp_path / "told")
    assert [was_told(str(number), known) for number in (0, 9, 10, SLOTS + 9)] == [False, False, True, True]
    assert (tmp_path / "told").stat().st_size == size
    assert (tmp_path / "told").stat().st_mode & 0o777 == 0o600


def test_a_note_outlasts_the_process_that_made_it(tmp_path):
    """Killed in the next instant, without a commit or a flush."""
    code = (
        "import os, signal, pathlib\n"
        "from oomtracer.journal.told import ToldFile\n"
        f"ToldFile.open(pathlib.Path({str(tmp_path / 'told')!r})).note('one')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert was_told("one", noted(tmp_path / "told"))


def test_where_there_is_no_room_or_no_file_it_goes_without(tmp_path, caplog):
    """A warning, and no signal of a store that finds no room."""
    if os.geteuid() == 0:
        with tmpfs(tmp_path / "small", "size=4k") as disk:
            assert ToldFile.open(disk / "told") is None
    assert ToldFile.open(tmp_path / "missing" / "told") is None
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert ToldFile.open(tmp_path / "link") is None
    assert not (tmp_path / "elsewhere").exists()
    assert all("told again" in one.message for one in caplog.records)

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from oomtracer.errors import OomTracerError
from oomtracer.kernel.directory_lock import DirectoryHeldError, DirectoryLock, holder

HOLD = """
import sys
from pathlib import Path
from oomtracer.kernel.directory_lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the directory."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_one_is_told_who_holds_the_directory(tmp_path, other):
    """Two owners of one directory cannot be; the error names the first one's process."""
    with pytest.raises(DirectoryHeldError) as told, DirectoryLock(tmp_path):
        pass
    assert told.value.pid == other.pid
    assert told.value.message == f"{tmp_path} is in use by process {other.pid}"
    assert told.value.hint
    assert holder(tmp_path) == other.pid


def test_a_holder_that_is_killed_holds_nothing_any_more(tmp_path, other):
    """A lock that outlived its process would need a hand to be removed."""
    other.send_signal(signal.SIGKILL)
    other.wait()
    with DirectoryLock(tmp_path):
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path) is None


def test_leaving_the_context_lets_go(tmp_path):
    """Nothing is left in the directory, and the same process may take it again."""
    for _ in range(2):
        with DirectoryLock(tmp_path) as lock:
            assert os.path.samestat(os.fstat(lock.fd), tmp_path.stat())
        assert lock.fd == -1
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_made_anew_meanwhile_is_the_one_that_is_locked(tmp_path, monkeypatch):
    """Its last owner may remove it between the opening and the lock: a lock on what is gone guards nothing."""
    import fcntl

    path = tmp_path / "pins"
    path.mkdir()
    flock, calls = fcntl.flock, []

    def replaced_first(fd: int, operation: int) -> None:
        if not calls:
            path.rename(tmp_path / "old")
            path.mkdir()
        calls.append(fd)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", replaced_first)
    with DirectoryLock(path) as lock:
        assert os.path.samestat(os.fstat(lock.fd), path.stat())
    assert len(calls) == 2


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.write_text("")], ids=["nothing", "file"]
)
def test_what_is_no_directory_is_an_error_with_a_hint(tmp_path, make):
    """The errno's name says whether it is missing or something else."""
    path = tmp_path / "lock"
    make(path)
    with pytest.raises(OomTracerError, match=r"ENOENT|ENOTDIR") as told, DirectoryLock(path):
        pass
    assert told.value.hint

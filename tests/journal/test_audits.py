from __future__ import annotations

from pathlib import Path

import pytest

from oomtracer import check
from oomtracer.check.rows import Status
from oomtracer.events import Outcome, Source
from oomtracer.journal import audits
from oomtracer.journal.audits import AuditRow
from oomtracer.journal.directory import StateDirectory, StateDirectoryError
from oomtracer.journal.reader import Reader
from oomtracer.sinks.audit_line import audit_line
from tests.unit.builders import BOOT_ID
from tests.unit.pipes import run

from .scene import BASE_US, journal, row
from .test_history import history

COUNTS = {
    "reason": "",
    "before_start": 3,
    "kernel_kills": 4,
    "program_kills": 4,
    "second_kills": 1,
    "lost": {"ring_full": 0, "unseen": 0},
}


def audit(ring: str, *, since_us: int = BASE_US, **counts) -> AuditRow:
    """Make the row of a ring."""
    return AuditRow(
        ring=ring,
        boot_id=BOOT_ID,
        since_ns=1,
        since_us=since_us,
        until_us=since_us + 5,
        counts={**COUNTS, **counts},
    )


def keep(directory: Path, *rows: AuditRow, reports=()) -> None:
    """Write them as an agent that then stops."""

    async def scenario() -> None:
        async with journal(directory) as opened:
            await opened.add(reports)
            for each in rows:
                await opened.submit(lambda connection, each=each: audits.keep(connection, each))

    run(scenario())


def test_of_a_ring_the_last_word_is_kept(tmp_path):
    """One row for each ring, of the newest ones; the others are as they were."""
    old = [audit(f"{i:016x}", since_us=BASE_US + i) for i in range(100)]
    keep(tmp_path, *old, audit(old[-1].ring, since_us=BASE_US + 99, kernel_kills=9))

    async def scenario() -> None:
        async with journal(tmp_path) as opened:
            found = await opened.submit(lambda each: audits.of_ring(each, old[-1].ring))
            assert found is not None
            assert found.counts["kernel_kills"] == 9
            assert await opened.submit(lambda each: audits.of_ring(each, old[0].ring)) is None
            latest = await opened.submit(audits.latest)
            assert latest == found

    run(scenario())


def test_reports_are_counted_as_the_kernel_counts(tmp_path):
    """Not those from before, of sharers, of mere marks, or of the kernel's log."""
    kinds = [
        row(1, boot_time_ns=10),
        row(2, boot_time_ns=0),
        row(3, boot_time_ns=10, shared_memory=True),
        row(4, boot_time_ns=10, outcome=Outcome.ALREADY_EXITING),
        row(5, boot_time_ns=10, source=Source.KMSG),
        row(6, boot_time_ns=11),
    ]
    keep(tmp_path, audit("a" * 16), reports=kinds)
    with Reader(tmp_path) as reader:
        found = reader.audit()
    assert found is not None
    assert found[1:] == (2, 0)


def test_what_came_after_the_last_look_is_told_apart(tmp_path):
    """An agent that was killed had no time to look at the kernel's count once more."""
    looked_ns = 1 + 5_000
    keep(tmp_path, audit("a" * 16), reports=[row(i, boot_time_ns=looked_ns + i - 2) for i in range(1, 6)])
    with Reader(tmp_path) as reader:
        line = audit_line(reader)
    assert "4 kills counted by the kernel, 2 reported" in line
    assert line.endswith("; 3 more reported since the last look at 2026-03-01T12:34:56Z")


def test_history_and_check_tell_how_the_counts_agree(tmp_path):
    """The last line of the table, and a row of the check; a loss is told with its reason."""
    lost = audit("a" * 16, lost={"ring_full": 2, "unseen": 0})
    keep(tmp_path, lost, reports=[row(1, boot_time_ns=10)])
    with Reader(tmp_path) as reader:
        line = audit_line(reader)
    assert "4 kills counted by the kernel, 1 reported, 1 counted twice" in line
    assert "2 lost (ring_full 2)" in line
    done = history(tmp_path, "--output", "table")
    assert done.stdout.splitlines()[-1] == line
    assert line not in history(tmp_path, "--output", "json").stdout
    rows = {each.subject: each for each in check.journal.rows(tmp_path)}
    assert rows["audit"].found == line
    assert rows["journal"].status is Status.OK


def test_a_journal_without_an_audit_has_no_line(tmp_path):
    """Nothing is claimed."""
    keep(tmp_path, reports=[row(1)])
    with Reader(tmp_path) as reader:
        assert audit_line(reader) == ""
    assert [each.subject for each in check.journal.rows(tmp_path)] == ["journal"]


def test_check_says_what_is_wrong_with_a_journal(tmp_path):
    """One that cannot be read is a hint."""
    (tmp_path / "journal.db").write_bytes(b"something else")
    [wrong] = check.journal.rows(tmp_path)
    assert (wrong.status, bool(wrong.hint)) == (Status.REDUCED, True)


def test_check_says_what_run_does_with_a_directory(tmp_path):
    """One that is empty or not there yet is fine, and none is made; what `run` refuses is told in its words."""
    (tmp_path / "empty").mkdir(mode=0o700)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    for name, told in (
        ("empty", "none yet"),
        ("missing", "not there yet"),
        ("open", "others may write to"),
        ("file", "is not a directory"),
        ("file/below", "is not a directory"),
        ("missing/below", "is not a directory"),
    ):
        [found] = check.journal.rows(tmp_path / name)
        fine = name in ("empty", "missing")
        assert told in found.found
        assert (found.status is Status.OK, bool(found.hint)) == (fine, not fine)
        if not fine:
            with pytest.raises(StateDirectoryError) as refused:
                StateDirectory(tmp_path / name).hold()
            assert refused.value.message in found.found
    assert not (tmp_path / "missing").exists()
    [off] = check.journal.rows(None)
    assert "--state-dir" in off.found

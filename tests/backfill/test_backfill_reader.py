"""Reading never waits, ends, goes on behind what was overwritten, and says what it could not do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from oomtracer.backfill import parse, read_log
from oomtracer.backfill.reader import read_kmsg

from . import printed
from .printed import Kill


class Device:
    """``/dev/kmsg`` by what its reads give: a record, or an errno; then nothing more for now."""

    def __init__(self, *answers: bytes | int) -> None:
        self.answers = list(answers)

    def read(self) -> bytes:
        """One read of the device."""
        answer = self.answers.pop(0) if self.answers else errno.EAGAIN
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer


def test_a_whole_log():
    """Every record is read once, and what was overwritten before is counted."""
    lines = printed.spread(printed.invocation(Kill()))
    log = read_kmsg(Device(*printed.kmsg(lines, 40)).read)
    assert log.kills == tuple(parse(lines))
    assert (log.source, log.records, log.overwritten, log.fault) == ("kmsg", len(lines), 40, "")


def test_what_is_overwritten_while_it_is_read():
    """EPIPE: the reading goes on, the missing ones are counted, and no dump reaches over the gap."""
    records = printed.kmsg(printed.spread([*printed.invocation(Kill()), printed.killed(Kill(pid=7))]))
    log = read_kmsg(Device(*records[:3], errno.EPIPE, *records[6:]).read)
    assert log.overwritten == 3
    assert [(kill.pid, kill.context.order) for kill in log.kills] == [(4242, None), (7, None)]
    assert log.fault == ""


def test_a_record_that_is_too_large_is_left_out():
    """EINVAL is of that record alone."""
    [first, second] = printed.kmsg([printed.killed(Kill(pid=6)), printed.killed(Kill(pid=7))])
    assert [kill.pid for kill in read_kmsg(Device(first, errno.EINVAL, second).read).kills] == [6, 7]


def test_another_error_ends_the_reading_with_its_name():
    """What was read until then is told."""
    [record] = printed.kmsg([printed.killed(Kill(pid=6))])
    log = read_kmsg(Device(record, errno.EIO, record).read)
    assert [kill.pid for kill in log.kills] == [6]
    assert "EIO" in log.fault


def test_a_log_that_grows_while_it_is_read_is_not_read_for_ever():
    """Somebody can write faster than anybody reads."""
    [record] = printed.kmsg([printed.line(14, "x")])
    log = read_kmsg(lambda: record, most_records=50)
    assert log.records == 50
    assert "faster" in log.fault
    assert "faster" in read_kmsg(Device(*[errno.EPIPE] * 99).read, most_records=50).fault


def test_the_text_where_the_device_cannot_be_opened(tmp_path):
    """The same kills, without a count of what was overwritten."""
    lines = printed.spread(printed.invocation(Kill()))
    log = read_log(tmp_path / "kmsg", lambda _: printed.syslog(lines))
    assert log.kills == tuple(parse(lines))
    assert log.records == printed.syslog(lines).count(b"\n")
    assert (log.source, log.overwritten, log.fault) == ("syslog", None, "")


def test_neither_can_be_read(tmp_path):
    """Both reasons are told, and nothing is raised."""

    def refused(_: int) -> bytes:
        raise PermissionError(errno.EPERM, "no")

    log = read_log(tmp_path / "kmsg", refused)
    assert (log.kills, log.source, log.records) == ((), None, 0)
    assert f"cannot open {tmp_path}/kmsg: ENOENT" in log.fault
    assert "syslog(2): EPERM" in log.fault


def test_a_log_without_times_is_of_no_use(tmp_path):
    """A kill whose time is not known cannot be told from one that was reported."""
    log = read_log(tmp_path / "kmsg", lambda _: b"<3>" + printed.killed(Kill()).text.encode() + b"\n")
    assert (log.kills, log.source) == ((), None)
    assert "printk.time" in log.fault


def test_an_empty_log_is_no_fault(tmp_path):
    """Nothing was printed, or somebody cleared it."""
    assert read_kmsg(Device().read).fault == read_log(tmp_path / "kmsg", lambda _: b"").fault == ""


@pytest.mark.parametrize("most_records", [0, 1])
def test_a_file_that_is_no_device_ends(tmp_path, most_records):
    """An end of file is an end."""
    path = Path(tmp_path / "kmsg")
    path.write_bytes(b"")
    log = read_log(path, most_records=most_records)
    assert (log.kills, log.records) == ((), 0)

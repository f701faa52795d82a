"""Both interfaces of the log, from their bytes."""

from __future__ import annotations

import pytest

from oomtracer.backfill import grammar
from oomtracer.backfill.line import LogLine, kmsg_line, syslog_lines

from . import printed
from .printed import Kill


def lines(text: bytes) -> list[LogLine]:
    """What syslog(2)'s text says."""
    return list(syslog_lines(text, grammar))


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (b"6,1,2,-;text\n", (2, 6, "text", False, 1)),
        (
            b"4,102119,13091922147,-;a b;c\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP\n",
            (13091922147, 4, "a b;c", False, 102119),
        ),
        (b"3,9,8,c;/tail\n", (8, 3, "/tail", True, 9)),
        (b"3,9,8,-,caller=T77;x\n", (8, 3, "x", False, 9)),
        (b"3,9,8,-,more,and=more;x\n", (8, 3, "x", False, 9)),
        (b"14,9,8,-;\n", (8, 14, "", False, 9)),
        (
            rb"3,9,8,-;two\x0alines \x5cx41 \xc3\xa9 \xff" + b"\n",
            (8, 3, "two\nlines \\x41 \u00e9 \ufffd", False, 9),
        ),
    ],
)
def test_records_of_kmsg(record, told):
    """Header, escapes, and lines of keys behind the text, which are no text."""
    line = kmsg_line(record)
    assert line
    assert (line.time_us, line.priority, line.text, line.is_fragment, line.sequence) == told


@pytest.mark.parametrize(
    "record", [b"", b"\n", b"x,1,2,-;y\n", b"6,1,2;y\n", b"6,1,2,-", b"-6,1,2,-;y\n", b"6,,2,-;y"]
)
def test_what_is_no_record_of_kmsg(record):
    """Without a header there is no line."""
    assert kmsg_line(record) is None


def test_the_text_of_syslog():
    """Prefixes with and without the caller; a cut first line, and one without a time, tell nothing."""
    found = lines(
        b"ut first line\n<6>no time\n<4>[    0.000000] Linux version\n<12>[    1.234567][    T1] systemd[1]: hi\n"
        b"<3>[13091.922464][   C1] x\n"
    )
    assert [(line.time_us, line.priority, line.text) for line in found] == [
        (0, 4, "Linux version"),
        (1_234_567, 12, "systemd[1]: hi"),
        (13_091_922_464, 3, "x"),
    ]
    assert {line.sequence for line in found} == {None}


def test_a_record_with_a_line_break_is_put_together_where_that_makes_sense_of_it():
    """A command's name may hold one; other lines with one prefix stay apart, the first alone sure to be a start."""
    kill = printed.killed(Kill(comm="two\nlines"))
    assert lines(printed.syslog([kill])) == [kill]
    found = lines(b"<6>[ 1.000000] a\n<6>[ 1.000000] b\n<6>[ 1.000001] c\n<4>[ 1.000001] d\n")
    assert [(line.text, line.is_fragment) for line in found] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("d", False),
    ]


def test_a_carriage_return_starts_no_line():
    """Only the kernel's own line break does: everything else is in somebody's text."""
    forged = "\r<3>[    1.000000] " + printed.killed(Kill()).text
    assert len(lines(printed.syslog([printed.line(14, forged + "\x85\u2028" + forged)]))) == 1


def test_a_clock_that_stands_still_hides_no_kill():
    """Kills of one instant are all told, and so is a dump's summary behind its numbers."""
    members = [printed.killed(Kill(pid=pid, comm=f"m\n{pid}")) for pid in range(2, 9)]
    assert lines(printed.syslog(members)) == members
    told = [line for line in lines(printed.syslog(printed.invocation(Kill()))) if not line.is_fragment]
    assert printed.summary(Kill()) in told
    assert printed.killed(Kill()) in told


def test_a_name_with_a_line_break_is_no_start():
    """Behind a line that could go on, nothing is sure to be the kernel's."""
    forged = printed.summary(Kill())
    for front in ("in lib.so", "anon 5 in lib.so", "x"):
        found = lines(printed.syslog([printed.line(6, f"{front}\n{forged.text}\n{forged.text}")]))
        assert [line.is_fragment for line in found] == [False, True, True]


def test_two_ways_to_put_a_line_together_are_none():
    """A short line before the start of a dump may be the front of the command's name, or another record."""
    text = printed.dump(Kill())[0].text
    found = lines(printed.syslog([printed.line(4, "short"), printed.line(4, text)]))
    assert [(line.text, line.is_fragment) for line in found] == [("short", False), (text, True)]

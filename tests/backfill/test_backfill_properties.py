"""Names are chosen by those who get killed: whatever they are, they are read back or not at all."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from oomtracer.backfill import LogLine, grammar, parse
from oomtracer.backfill.line import kmsg_line, syslog_lines
from tests.unit.builders import HOSTILE, examples

from . import printed
from .printed import Kill

WORDS = [
    ",task=",
    ",task_memcg=",
    ",oom_memcg=",
    ",mems_allowed=0,",
    "global_oom",
    ",pid=1,uid=0",
    ",cpuset=",
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=",
    "Out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
    " are going to be killed due to memory.oom.group set",
    ") total-vm:",
    " invoked oom-killer: ",
    "(",
    ")",
    ":",
    " ",
    "a",
    "7",
]
PIECES = st.sampled_from([*WORDS, *(piece for piece in HOSTILE if piece not in ("\ud800", "\0"))]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3
)


def _bytes_cut(text: str, length: int) -> str:
    return text.encode()[:length].decode("utf-8", "ignore")


COMMS = st.lists(PIECES, max_size=3).map(lambda pieces: _bytes_cut("".join(pieces), 15))
# A cgroup's name has no slash and no line break (cgroup_mkdir()), and is no empty string.
NAMES = st.lists(PIECES, min_size=1, max_size=3).map(
    lambda pieces: _bytes_cut("".join(pieces).replace("/", "").replace("\n", ""), 255) or "x"
)
PATHS = st.lists(NAMES, max_size=3).map(lambda names: "".join(f"/{name}" for name in names))
PIDS = st.integers(2, 4_000_000)


@st.composite
def kills(draw) -> Kill:
    """Any invocation, with names of any kind."""
    oom_memcg = draw(st.none() | PATHS.map(lambda path: path or "/x"))
    pid, comm = draw(PIDS), draw(COMMS)
    is_trigger = draw(st.booleans())
    return Kill(
        pid=pid,
        comm=comm,
        uid=draw(st.integers(0, 2**32 - 1)),
        trigger=pid if is_trigger else draw(PIDS),
        trigger_comm=comm if is_trigger else draw(COMMS),
        constraint="MEMCG" if oom_memcg else draw(st.sampled_from(["NONE", "CPUSET", "MEMORY_POLICY"])),
        message="Memory cgroup out of memory" if oom_memcg else "Out of memory",
        cpuset=draw(st.just("/") | NAMES),
        oom_memcg=oom_memcg,
        task_memcg=(oom_memcg or "") + draw(PATHS) or "/",
        order=draw(st.integers(-1, 11)),
        gfp_mask=draw(st.integers(0, 2**32 - 1)),
    )


@given(st.lists(kills(), max_size=3), st.sampled_from(["lines", "kmsg", "syslog"]))
@examples(600)
def test_names_are_read_back_or_not_at_all(made, interface):
    """As many kills as there were, each of its own process; a path is the true one, or unknown."""
    lines = printed.spread([line for kill in made for line in printed.invocation(kill)])
    if interface == "kmsg":
        lines = [line for record in printed.kmsg(lines) if (line := kmsg_line(record))]
    elif interface == "syslog":
        lines = list(syslog_lines(printed.syslog(lines), grammar))
    told = parse(lines)
    assert [(kill.pid, kill.killed.comm) for kill in told] == [(kill.pid, kill.comm) for kill in made]
    for kill, true in zip(told, made, strict=True):
        assert kill.task_memcg in (None, true.task_memcg)
        assert kill.context.oom_memcg in (None, true.oom_memcg)
        assert kill.context.constraint == true.constraint
        assert kill.context.trigger_tid in (None, true.trigger)
        if interface != "syslog" or kill.context.order is not None:  # "\n" as a name: two ways to read a line
            assert (kill.context.order, kill.context.gfp_mask) == (true.order, true.gfp_mask)
        assert kill.group is None


@given(kills())
@examples(300)
def test_plain_names_are_always_read(kill):
    """Whatever the command is called, cgroups without the line's own words are known."""
    plain = replace(
        kill, oom_memcg=kill.oom_memcg and "/a.slice", task_memcg="/a.slice/b-1.service", cpuset="/"
    )
    [told] = parse(printed.invocation(plain))
    assert (told.task_memcg, told.context.oom_memcg) == (plain.task_memcg, plain.oom_memcg)


LINES = st.builds(
    LogLine,
    time_us=st.integers(0, 2**64),
    priority=st.sampled_from([3, 4, 6, 11, 14, 0, 2**32]),
    text=st.one_of(
        st.text(max_size=40),
        kills().map(lambda kill: printed.killed(kill).text),
        kills().map(lambda kill: printed.summary(kill).text),
        kills().map(lambda kill: printed.dump(kill)[0].text),
        PATHS.map(lambda path: printed.group(path or "/").text),
        st.sampled_from([line.text for line in printed.invocation(Kill())]),
    ),
    is_fragment=st.booleans(),
    sequence=st.none() | st.integers(0, 9),
)


@given(st.lists(LINES, max_size=20))
@examples(400)
def test_any_lines_in_any_order(lines):
    """Never an error, and never more kills than lines that only the kernel can have written."""
    told = parse(lines)
    starts = [line for line in lines if line.priority == 3 and not line.is_fragment]
    assert len(told) <= len(starts)
    for kill in told:
        assert any(f"Killed process {kill.killed.tid} (" in line.text for line in starts)


@given(st.binary(max_size=80) | st.from_regex(rb"<\d+>\[ +\d+\.\d+\](\[ +T\d+\])? .*\n[^\n]*"))
@examples(300)
def test_any_bytes(data):
    """Neither interface's reader fails on bytes that are no log."""
    kmsg_line(data)
    parse(syslog_lines(data, grammar))


@given(NAMES | COMMS, st.integers(0, 5))
@examples(300)
def test_a_printed_name_makes_no_kill(name, level):
    """A record that somebody's name is in tells no kill, even where it has line breaks."""
    forged = printed.killed(Kill(pid=1, comm="init")).text
    record = printed.line(level, f"{name}\n{forged}\n")
    before = printed.line(level, "something", record.time_us - 1)
    assert parse([before, record]) == []
    assert parse(syslog_lines(printed.syslog([before, record]), grammar)) == []

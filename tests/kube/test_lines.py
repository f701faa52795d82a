from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.lines import LineSplitter, LineTooLongError
from tests.unit.builders import examples

CHUNKS = st.lists(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\0"]), max_size=6).map(b"".join), max_size=12
)


def split(chunks: list[bytes], splitter: LineSplitter) -> list[bytes]:
    """Feed all chunks; the lines, the unfinished one last."""
    return [line for chunk in chunks for line in splitter.feed(chunk)] + [splitter.rest()]


@examples(200)
@given(CHUNKS)
def test_any_chunking_gives_the_same_lines(chunks):
    """However a stream is cut into chunks, its lines are those between its newlines."""
    assert split(chunks, LineSplitter()) == b"".join(chunks).split(b"\n")


@examples(200)
@given(CHUNKS, st.integers(1, 8))
def test_exactly_the_lines_that_are_too_long_are_refused(chunks, max_bytes):
    """A stream is refused if and only if one of its lines, the unfinished one too, is longer than allowed."""
    too_long = max(map(len, b"".join(chunks).split(b"\n"))) > max_bytes
    splitter = LineSplitter(max_bytes=max_bytes)
    if too_long:
        with pytest.raises(LineTooLongError):
            split(chunks, splitter)
    else:
        split(chunks, splitter)


def test_a_line_without_end_is_given_up_at_the_limit():
    """What is held never grows beyond the limit and one chunk."""
    splitter = LineSplitter(max_bytes=1 << 20)
    chunk = b"x" * (64 << 10)
    for _ in range(16):
        assert splitter.feed(chunk) == []
    with pytest.raises(LineTooLongError):
        splitter.feed(chunk)


def test_a_long_line_is_whole():
    """A line of 16 MiB in small chunks comes out as it went in."""
    chunk = bytes(range(11, 75)) * 1024
    splitter = LineSplitter()
    for _ in range(256):
        assert splitter.feed(chunk) == []
    assert splitter.feed(b"\nrest") == [chunk * 256]
    assert splitter.rest() == b"rest"

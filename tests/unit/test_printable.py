from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.printable import printable

from .builders import HOSTILE, examples, unfit

ANY = st.text(st.characters(categories=None), max_size=30) | st.sampled_from(HOSTILE)
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def original(text: str) -> str:
    """Undo the escapes."""
    return ESCAPE.sub(lambda match: chr(int(match[match.lastindex], 16)), text)


@given(ANY)
@examples(1000)
def test_nothing_comes_out_that_moves_a_cursor_or_starts_a_line(text):
    """No control, bidi, format, surrogate, private or unassigned character and no line end is left."""
    out = printable(text)
    assert not unfit(out)
    assert len(out.splitlines()) <= 1
    assert "\x1b" not in out
    out.encode("utf-8")


@given(ANY.map(lambda text: text.replace("\\", "/")))
@examples(1000)
def test_the_original_can_be_told_from_what_is_printed(text):
    """Escapes can be undone: two different names without a backslash never print the same."""
    assert original(printable(text)) == text


@given(ANY)
@examples(300)
def test_what_is_printable_stays_as_it_is(text):
    """Printing twice changes nothing more, so that no caller has to know who did it before."""
    assert printable(printable(text)) == printable(text)


@given(st.text(st.characters(categories=["L", "N", "S", "P"])))
@examples(200)
def test_ordinary_text_stays_as_it_is(text):
    """Letters, digits and signs of every language are printed unchanged."""
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain name", "plain name"),
        ("a\nb", r"a\x0ab"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\u2028", r"\u2028"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        (r"dev-disk\x2dby.swap", r"dev-disk\x2dby.swap"),
        ("größe 日本", "größe 日本"),
    ],
)
def test_examples(text, printed):
    """Each character that is not fit for a line is told by its number; a unit's own escapes stay."""
    assert printable(text) == printed

"""Strings that a pod controls, made fit for a terminal or a log line."""

from __future__ import annotations

import unicodedata

# Control characters, bidi and other invisible format characters, lone surrogates, private use,
# line and paragraph separators.
_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BYTE, _PLANE = 0x100, 0x10000


def printable(text: str) -> str:
    r"""The text with whatever could move a cursor or fake a line told as ``\x1b``, ``\u202e``, ...

    A backslash stays as it is: systemd's own unit and cgroup names hold ``\x2d``. JSON is the lossless form.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _UNFIT:
        return character
    code = ord(character)
    if code < _BYTE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _PLANE else f"\\U{code:08x}"

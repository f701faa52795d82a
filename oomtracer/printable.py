"""Strings that a pod controls, made fit for a terminal or a log line, and numbers for people."""

from __future__ import annotations

import unicodedata

# Control characters, bidi and other invisible format characters, lone surrogates, private use,
# line and paragraph separators.
_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BYTE, _PLANE = 0x100, 0x10000
_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def printable(text: str) -> str:
    r"""The text with whatever could move a cursor or fake a line told as ``\x1b``, ``\u202e``, ...

    A backslash stays as it is: systemd's own unit and cgroup names hold ``\x2d``. JSON is the lossless form.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def size(size_bytes: int | None) -> str:
    """``31.5 MiB``, with three digits that count; ``?`` where unknown."""
    if size_bytes is None:
        return "?"
    if abs(size_bytes) < _KIB:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in _UNITS:
        value /= _KIB
        if abs(value) < _KIB or unit == _UNITS[-1]:
            break
    digits = 0 if value >= 100 else 1
    return f"{value:.{digits}f} {unit}"


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _UNFIT:
        return character
    code = ord(character)
    if code < _BYTE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _PLANE else f"\\U{code:08x}"

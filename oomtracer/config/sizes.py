"""Sizes in bytes, with the units that people write."""

from __future__ import annotations

import mmap
import re

from oomtracer.errors import UsageError

DEFAULT_RING_SIZE_BYTES = 1 << 20
DEFAULT_STATE_MAX_BYTES = 64 << 20
_MAX_RING_SIZE_BYTES = 1 << 30
_MIN_STATE_BYTES, _MAX_STATE_BYTES = 1 << 20, 1 << 40
# One record of a kill with paths of its own takes 6,904 bytes.
_MIN_RING_SIZE_BYTES = 8 << 10
_SIZE = re.compile(r"([0-9]{1,12}) ?(?:([KMG])i?B?|B)?", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str, *, flag: str) -> int:
    """Bytes of ``512KiB``, ``1MiB``, ``1Mi``, ``1M`` or ``1048576`` (all powers of 1,024). Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{flag}: {text[:100]!a} is not a size", hint=f"write {flag}=1MiB, 512KiB or 1048576"
        )
    return int(match[1]) * _FACTORS[(match[2] or "").upper()]


def parse_ring_size(text: str, *, flag: str = "--ring-size") -> int:
    """The bytes of a ring buffer map: a power of two and whole pages, as the kernel wants it.

    Raises UsageError.
    """
    size = parse_size(text, flag=flag)
    smallest = max(mmap.PAGESIZE, _MIN_RING_SIZE_BYTES)
    if size & (size - 1) or not smallest <= size <= _MAX_RING_SIZE_BYTES:
        raise UsageError(
            f"{flag}: {text[:100]!a} is not a power of two from {smallest} bytes to 1 GiB",
            hint=f"write {flag}=1MiB, or leave it out",
        )
    return size


def parse_state_size(text: str, *, flag: str = "--state-max-size") -> int:
    """The bytes that a journal may take: from 1 MiB to 1 TiB. Raises UsageError."""
    size = parse_size(text, flag=flag)
    if not _MIN_STATE_BYTES <= size <= _MAX_STATE_BYTES:
        raise UsageError(
            f"{flag}: {text[:100]!a} is not from 1 MiB to 1 TiB", hint=f"write {flag}=64MiB, or leave it out"
        )
    return size

"""Bytes changed as a fuzzer changes them: no knowledge of what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

_NUMBERS = (0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_BIG = (*_NUMBERS, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(random: Random, data: bytes, tokens: Sequence[bytes] = (b"\0", b"\n", b" ")) -> bytes:
    """Make one to four changes; ``tokens`` are what the format is made of."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        if changed:
            random.choice(_CHANGES)(random, changed, tokens)
        else:
            changed += random.choice(tokens)
    return bytes(changed)


def noise(random: Random, most: int) -> bytes:
    """Make bytes without any sense, of any length up to ``most``."""
    return random.randbytes(random.randint(0, random.choice((8, 64, most))))


def _range(random: Random, data: bytearray) -> slice:
    start = random.randrange(len(data))
    return slice(start, min(len(data), start + random.choice((1, 2, 4, 8, 32, 128))))


def _flip(random: Random, data: bytearray, _tokens: Sequence[bytes]) -> None:
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, _tokens: Sequence[bytes]) -> None:
    data[random.randrange(len(data))] = random.randrange(256)


def _number(random: Random, data: bytearray, _tokens: Sequence[bytes]) -> None:
    size = random.choice((2, 4, 8))
    if len(data) >= size:
        at = random.randrange(len(data) - size + 1) // size * size
        data[at : at + size] = (random.choice(_BIG) % 256**size).to_bytes(size, "little")


def _delete(random: Random, data: bytearray, _tokens: Sequence[bytes]) -> None:
    del data[_range(random, data)]


def _double(random: Random, data: bytearray, _tokens: Sequence[bytes]) -> None:
    piece = data[_range(random, data)]
    at = random.randrange(len(data) + 1)
    data[at:at] = piece * random.choice((1, 1, 2, 9))


def _insert(random: Random, data: bytearray, tokens: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.choice(tokens)


def _replace(random: Random, data: bytearray, tokens: Sequence[bytes]) -> None:
    data[_range(random, data)] = random.choice(tokens)


def _cut(random: Random, data: bytearray, _tokens: Sequence[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


_CHANGES: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip,
    _set,
    _number,
    _delete,
    _double,
    _insert,
    _replace,
    _cut,
)

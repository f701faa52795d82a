"""Kernel addresses to names, from /proc/kallsyms, held in a few compact arrays."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

KALLSYMS = Path("/proc/kallsyms")
_CODE = frozenset((b"t", b"T", b"w", b"W"))
# Beyond the last symbol of the kernel or of a module there is no telling where its function ends.
_MAX_OFFSET = 1 << 20
_ADDRESSES = 1 << 64


class _Table:
    """Functions in the order of their addresses."""

    def __init__(self) -> None:
        self.addresses = array("Q")
        self._offsets = array("I")
        self._names = bytearray()

    def append(self, address: int, name: bytes) -> None:
        self.addresses.append(address)
        self._offsets.append(len(self._names))
        self._names += name + b"\0"

    def find(self, address: int) -> tuple[int, str] | None:
        """The last function that starts at or before an address."""
        i = bisect_right(self.addresses, address) - 1
        if i < 0:
            return None
        start = self._offsets[i]
        return self.addresses[i], self._names[start : self._names.index(0, start)].decode("ascii", "replace")


class KernelSymbols:
    """Some 60,000 functions in about 2 MiB; made once, so that a kill allocates next to nothing."""

    def __init__(self, symbols: Iterable[tuple[int, bytes]]) -> None:
        """Take (address, name) pairs: fastest in the order of addresses, as the kernel's own are."""
        self._kernel, self._modules = _Table(), _Table()
        last, late = 0, []
        for address, name in symbols:
            if address >= last:
                self._kernel.append(address, name)
                last = address
            else:
                late.append((address, name))
        for address, name in sorted(late):
            self._modules.append(address, name)

    @classmethod
    def load(cls, path: Path = KALLSYMS) -> Self:
        """Read the running kernel's. Empty where it hides addresses (``kptr_restrict``, no CAP_SYSLOG)."""
        try:
            with path.open("rb") as lines:
                return cls(_code_symbols(lines))
        except OSError:
            return cls(())

    def __len__(self) -> int:
        return len(self._kernel.addresses) + len(self._modules.addresses)

    def name(self, address: int) -> str | None:
        """``symbol+0x1a`` for an address inside a known function."""
        found = max(filter(None, (self._kernel.find(address), self._modules.find(address))), default=None)
        if found is None or address - found[0] > _MAX_OFFSET:
            return None
        return f"{found[1]}+{address - found[0]:#x}"


def _code_symbols(lines: Iterable[bytes]) -> Iterable[tuple[int, bytes]]:
    for line in lines:
        parts = line.split(None, 3)
        # __pfx_ marks the padding before a function (CONFIG_CALL_PADDING): nothing returns to there.
        if len(parts) < 3 or parts[1] not in _CODE or parts[2].startswith(b"__pfx_"):
            continue
        try:
            start = int(parts[0], 16)
        except ValueError:
            continue
        if 0 < start < _ADDRESSES:
            yield start, parts[2]

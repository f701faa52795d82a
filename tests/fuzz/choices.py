"""A thing of many fields out of bytes: each choice takes some, and when they end each is the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.unit.builders import CONTAINER, CONTAINER_ID, HOSTILE, POD, POD_UID, QOS, SERVICE

T = TypeVar("T")

_TEXTS = (
    "a",
    "",
    "shop",
    POD_UID,
    CONTAINER_ID,
    "shop-5d9c7b6f4-x2x9q",
    "kube-system",
    "é\u0300",
    "x" * 200,
    *HOSTILE,
)
_CGROUPS = (
    CONTAINER,
    POD,
    QOS,
    SERVICE,
    "/",
    "",
    "/kubepods.slice",
    "/…",
    f"{POD}/…",
    f"/docker/{CONTAINER_ID}",
)
_FLOATS = (0.0, 1.0, -1.0, 600.0, 1.78e9, 1e300, float("inf"), float("-inf"), float("nan"))
_INTEGERS = (0, 1, 2, -1, 4096, 2**31 - 1, -(2**31), 2**32 - 1, 2**63, 2**64 - 1, 2**64 * 4096)


class Choices:
    """Decisions read from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def pick(self, values: Sequence[T]) -> T:
        """Take one of up to 256 values."""
        return values[self._byte() % len(values)]

    def flag(self) -> bool:
        """Say yes or no."""
        return bool(self._byte() & 1)

    def maybe(self, make: Callable[[], T]) -> T | None:
        """Make it or leave it out."""
        return make() if self.flag() else None

    def several(self, make: Callable[[], T], most: int) -> list[T]:
        """Make none to ``most``."""
        return [make() for _ in range(self._byte() % (most + 1))]

    def integer(self) -> int:
        """Take a number of any size."""
        return self.pick(_INTEGERS) + self._byte() % 4

    def number(self) -> float:
        """Take a floating point number, also one that is none."""
        return self.pick(_FLOATS)

    def text(self) -> str:
        """Take a text that somebody chose to do harm, or a plain one."""
        return self.pick(_TEXTS) + (self.pick(_TEXTS) if self._byte() % 4 == 1 else "")

    def cgroup(self) -> str:
        """Take a cgroup's path."""
        return self.pick(_CGROUPS) + (f"/{self.text()}" if self._byte() % 4 == 1 else "")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

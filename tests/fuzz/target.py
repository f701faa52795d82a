"""What a target is, and the number that names each of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import ModuleType

_INDEX_BITS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """One reader of foreign bytes, with what holds for every input."""

    name: str
    generate: Callable[[Random], bytes]
    check: Callable[[bytes], None]
    """Raises whatever a rule that does not hold raises."""

    def input(self, seed: int, index: int, random: Random | None = None) -> bytes:
        """Make input ``index`` of a seed: always the same, whatever was made before."""
        source = random or Random()
        source.seed(seed << _INDEX_BITS | index)
        return self.generate(source)


def target_of(name: str, module: ModuleType) -> Target:
    """Make a target of a module with ``generate`` and ``check``."""
    return Target(name, module.generate, module.check)

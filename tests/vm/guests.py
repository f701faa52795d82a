"""The table of guests: which kernels are booted, and what is expected of each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("guests.toml")


@dataclass(frozen=True, kw_only=True)
class Guest:
    """One entry of guests.toml."""

    kernel: str
    package: str
    arch: str
    cgroup: str
    hooks: tuple[str, ...]
    also: tuple[str, ...] = ()
    tests: str = "plain"
    memory_mib: int = 1024
    command_line: str = ""
    qemu: tuple[str, ...] = ()
    ci: bool = False

    @property
    def name(self) -> str:
        """As results and files call it: ``6.12-x86_64-v2``."""
        kind = "" if self.tests == "plain" else f"-{self.tests}"
        return f"{self.kernel}-{self.arch}-{self.cgroup}{kind}"


def all_guests(table: Path = TABLE) -> tuple[Guest, ...]:
    """Every entry, in the order of the file."""
    entries = tomllib.loads(table.read_text())["guest"]
    return tuple(Guest(**{**entry, **_tuples(entry)}) for entry in entries)


def _tuples(entry: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(value) for name, value in entry.items() if isinstance(value, list)}

"""Whose limit was hit, where several cgroups could have been: the kernel log's oom_memcg= is the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

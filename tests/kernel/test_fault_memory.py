"""Kills by the thousand cost no memory that is not given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.endurance import endure, faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import CgroupMaker, Grow

KILLS, WARM = 3000, 2000


def test_three_thousand_kills(tmp_path: Path, pin_path: Path, make_cgroup: CgroupMaker, grow: Grow) -> None:
    """Each is told, and the last third of them costs less than 1 MiB of memory."""
    result = endure(tmp_path, pin_path, make_cgroup, grow, kills=KILLS)
    print(result)
    assert faults(result, after=WARM) == []

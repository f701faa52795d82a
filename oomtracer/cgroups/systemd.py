"""Which unit of the system's service manager a path belongs to, and which slices it lies in.

The rule is systemd's own (``cg_path_get_unit`` in ``src/basic/cgroup-util.c``): skip the leading slices;
the next level is the unit. What stands below was made by the unit itself (a user's manager, a container
with systemd inside) and cannot name another unit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from oomtracer.events import CUT

_CHARACTERS = r"[0-9A-Za-z:_.\\@-]+"
_SLICE = re.compile(rf"{_CHARACTERS}\.slice")
# The unit types that have a cgroup of their own (``unit-def.h``, ``cgroup_context_offset``).
_UNIT = re.compile(rf"{_CHARACTERS}\.(?:service|scope|socket|mount|swap)")
_CUT_UNIT = re.compile(rf"{_CHARACTERS}{CUT}")


class Units(NamedTuple):
    """The slices from the root down, and the unit directly in the last of them."""

    slices: tuple[str, ...]
    unit: str | None

    @property
    def chain(self) -> tuple[str, ...]:
        """All units from the root down: a slice is a unit too."""
        return (*self.slices, self.unit) if self.unit else self.slices


def units_of(levels: Sequence[str]) -> Units:
    r"""The systemd side of a path; names stay escaped (``\x2d``), as ``systemctl status`` takes them."""
    names = [_unescape(level) for level in levels]
    slices = [*takewhile(_is_slice, names)]
    first = names[len(slices)] if len(names) > len(slices) else ""
    return Units((*slices,), first if _is_unit(first, in_slice=bool(slices)) else None)


def _unescape(level: str) -> str:
    # cg_escape() puts "_" before a name the kernel could take for a file: "_memory.service".
    return level.removeprefix("_")


def _is_slice(name: str) -> bool:
    return _SLICE.fullmatch(name) is not None


def _is_unit(name: str, *, in_slice: bool) -> bool:
    # A cut name has lost its suffix, but what stands directly in a slice is a unit.
    cut = in_slice and _CUT_UNIT.fullmatch(name) is not None
    return cut or _UNIT.fullmatch(name) is not None

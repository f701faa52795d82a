"""Where reports go. A sink knows reports only: neither the kernel nor the pipeline before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from oomtracer.events import OomReport


class Sink(Protocol):
    """Takes reports one by one; never waits and never raises."""

    def emit(self, report: OomReport) -> None:
        """Take one report."""

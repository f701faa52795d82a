"""What Events want remembered, so that after a restart each kill is counted, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from oomtracer.deliveries import RememberedSeries, Told


class EventOutbox(Protocol):
    """Where the state of Events outlives the process; nothing here raises."""

    @property
    def keeps(self) -> bool:
        """Whether what is untold is taken up again by the next process."""

    def finished(self, report_ids: Sequence[str]) -> None:
        """No Event is owed for these reports any more."""

    def recorded(self, series: RememberedSeries, told: Told, report_ids: Sequence[str]) -> None:
        """An incident was counted in its series, and with it these reports are finished: all of that or nothing."""

    def told(self, name: str, count: int) -> None:
        """The API server has the Event with that count; 0: not any more."""

    def ended(self, name: str) -> None:
        """The series has ended, whether all of it was told or not."""


class NoEventOutbox:
    """Nothing is remembered: no ``--state-dir``."""

    keeps = False

    def finished(self, report_ids: Sequence[str]) -> None:
        """Forget it."""

    def recorded(self, series: RememberedSeries, told: Told, report_ids: Sequence[str]) -> None:
        """Forget it."""

    def told(self, name: str, count: int) -> None:
        """Forget it."""

    def ended(self, name: str) -> None:
        """Forget it."""

"""What marks want remembered, so that a restart neither loses one nor makes one too many."""

from __future__ import annotations

from typing import Protocol

from oomtracer.deliveries import RememberedMark


class MarkOutbox(Protocol):
    """Where the state of marks outlives the process; nothing here raises."""

    @property
    def keeps(self) -> bool:
        """Whether what is pending is taken up again by the next process."""

    def decided(self, report_id: str, decision: str) -> None:
        """A report that needs no mark (any more) has had its decision."""

    async def sending(self, mark: RememberedMark) -> None:
        """A mark is about to be sent for the first time; return once that is kept, or cannot be soon."""

    def ended(self, report_id: str, incident: str, decision: str, *, made: bool, in_doubt: bool) -> None:
        """A mark came to its end; one that was neither made nor is in doubt has spent nothing."""


class NoMarkOutbox:
    """Nothing is remembered: no ``--state-dir``."""

    keeps = False

    def decided(self, report_id: str, decision: str) -> None:
        """Forget it."""

    async def sending(self, mark: RememberedMark) -> None:
        """Go on at once."""

    def ended(self, report_id: str, incident: str, decision: str, *, made: bool, in_doubt: bool) -> None:
        """Forget it."""

"""Pinned instances that another one has replaced: their rings are drained, then their pins are removed."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from oomtracer.audit import Baseline, Counters
from oomtracer.errors import OomTracerError
from oomtracer.libbpf import BpfMap, RingBuffer, wait_for_programs
from oomtracer.tracer.pins import remove, remove_links

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oomtracer.libbpf import RingRecord
    from oomtracer.tracer.pins import Pins

logger = logging.getLogger("oomtracer.tracer")


class Remains:
    """One of them. Nothing more comes into its ring that the one in its place does not record too."""

    def __init__(self, pins: Pins) -> None:
        self.name = pins.name
        self.counted = Counters()
        self.baseline: Baseline | None = None
        """Of an instance that saw kills as such; None of others."""
        self._directory = pins.directory
        self._is_drained = False
        self._stack = ExitStack()
        self._ring: RingBuffer | None = None
        with self._stack as stack:
            if pins.created_ns is not None:
                with pins.open() as instance:
                    self.counted = instance.count()
                    if pins.sees_signals:
                        self.baseline = instance.baseline
            remove_links(pins.directory)
            if (pins.directory / "map_events").exists():
                events = stack.enter_context(BpfMap.pinned(pins.directory / "map_events"))
                self._ring = stack.enter_context(RingBuffer(events.fileno()))
            self._stack = stack.pop_all()

    def read(self, *, limit: int) -> list[RingRecord]:
        """Up to ``limit`` records that were not read yet; none: it is drained, and goes with the next release."""
        try:
            records = self._ring.read(limit=limit) if self._ring else []
        except OomTracerError as error:
            logger.error("what instance %s still held is lost: %s", self.name, error.message)  # noqa: TRY400
            records = []
        self._is_drained = not records
        return records

    def release(self) -> bool:
        """Give up what was read. Returns whether that was all, and it is removed."""
        if self._ring:
            self._ring.release()
        if self._is_drained:
            self.close()
            try:
                remove(self._directory)
            except OomTracerError as error:
                logger.error("%s", error.message)  # noqa: TRY400
        return self._is_drained

    def close(self) -> None:
        """Leave the rest to the next process."""
        self._ring = None
        self._stack.close()


def take_over(found: Iterable[Pins]) -> list[Remains]:
    """Stop what others recorded, once what takes their place is attached; oldest first.

    A kill that both have seen comes out of both rings, with one report id. One that cannot be opened is told and left.
    """
    stopped = [pins for pins in found if _is_stopped(pins)]
    if stopped:
        wait_for_programs()  # those that run now began before they were told
    return [remains for pins in stopped if (remains := _opened(pins))]


def _is_stopped(pins: Pins) -> bool:
    if pins.fault:
        _leave(pins, pins.fault)
        return False
    try:
        if pins.created_ns is not None:
            with pins.open() as instance:
                instance.note_replaced()
    except OomTracerError as error:
        _leave(pins, error)
        return False
    return True


def _opened(pins: Pins) -> Remains | None:
    try:
        return Remains(pins)
    except (OomTracerError, OSError) as error:
        _leave(pins, error)
        return None


def _leave(pins: Pins, why: object) -> None:
    logger.error("the pins in %s are left as they are: %s", pins.directory, why)

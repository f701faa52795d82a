"""The guests of the table that are part of `make test`: other kernels, another architecture, real kills."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ARCHITECTURES
from tests.vm.guests import Guest, all_guests
from tests.vm.run import Lab, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

GUESTS = [guest for guest in all_guests() if guest.ci]
# The first test waits for wheels, kernels and userlands, too.
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="session")
def booted(lab: Lab) -> Iterator[dict[str, Future[Result]]]:
    """Every guest, booted side by side as far as there are processors."""
    pool = ThreadPoolExecutor(os.cpu_count())
    yield {guest.name: pool.submit(lab.run, guest, brief=True) for guest in GUESTS}
    pool.shutdown(cancel_futures=True)


def test_they_are_started(booted: dict[str, Future[Result]]) -> None:
    """The first test of a whole run: guests boot while the others go on."""
    assert set(booted) == {guest.name for guest in GUESTS}


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_guest(booted: dict[str, Future[Result]], guest: Guest) -> None:
    """The expected hooks are in use, every test ran and passed, and the kernel found no fault in itself."""
    result = booted[guest.name].result()
    assert not result.faults, "\n".join([f"Linux {result.kernel}, `make vm` boots it too", *result.faults])
    assert result.passed > 0


def test_the_table_covers_what_is_promised() -> None:
    """Oldest and newest kernel and the second architecture are among those of `make test`; no guest is there twice."""
    kernels = [guest.kernel for guest in all_guests() if guest.arch == "x86_64" and guest.tests == "plain"]
    assert {kernels[0], "7.3"} <= {guest.kernel for guest in GUESTS}
    assert {guest.arch for guest in GUESTS} == set(ARCHITECTURES)
    names = [guest.name for guest in all_guests()]
    assert len(names) == len(set(names))

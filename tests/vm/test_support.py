"""The support matrix is what the tests found, not what somebody wrote."""

from __future__ import annotations

import json

from tests.vm.guests import all_guests
from tests.vm.support import README, RESULTS, in_readme, table


def test_the_readme_has_the_table_of_the_results() -> None:
    """The table between its two marks is made of docs/support.json, word for word."""
    assert in_readme(README.read_text()) == table(json.loads(RESULTS.read_text()))


def test_every_line_is_of_a_guest_that_passed() -> None:
    """Each guest of the table has passed, with the hooks expected of it and at least one test."""
    guests = {guest.name: guest for guest in all_guests()}
    assert set(json.loads(RESULTS.read_text())) == set(guests)
    for name, result in json.loads(RESULTS.read_text()).items():
        assert result["hooks"] == list(guests[name].hooks)
        assert (result["arch"], result["cgroup"]) == (guests[name].arch, guests[name].cgroup)
        assert result["passed"] > 0

"""How long to wait before asking the API server again."""

from __future__ import annotations

import random as _random
from collections.abc import Callable

MAX_RETRY_AFTER_S = 300.0
"""A server that asks for more patience than this is asked again all the same."""

_FLOOR = 0.1
# The share of the ceiling that is always waited: with it, no luck makes 20 requests of a minute's failure.


class Backoff:
    """Doubling waits with full jitter, so that the agents of a cluster do not come back together."""

    def __init__(
        self, *, base_s: float = 1.0, cap_s: float = 60.0, random: Callable[[], float] = _random.random
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._random = random
        self._ceiling_s = base_s

    def next_s(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait after one more failure; with the server's Retry-After never less than that.

        The jitter comes on top of Retry-After, which is honoured up to five minutes.
        """
        ceiling_s = self._ceiling_s
        self._ceiling_s = min(self._cap_s, 2 * ceiling_s)
        jitter_s = ceiling_s * (_FLOOR + (1 - _FLOOR) * self._random())
        return _asked_for_s(retry_after_s) + jitter_s

    def reset(self) -> None:
        """Start over, after a success."""
        self._ceiling_s = self._base_s


def _asked_for_s(retry_after_s: float | None) -> float:
    if retry_after_s is None or not retry_after_s > 0:  # NaN is not
        return 0.0
    return min(retry_after_s, MAX_RETRY_AFTER_S)

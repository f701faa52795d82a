"""How often one object may be written about: a burst, then now and then."""

from __future__ import annotations

import math
from collections import OrderedDict

BURST = 25
REFILL_S = 300.0
MAX_OBJECTS = 1024


class Buckets:
    """A token bucket for each object, full at first; the one unused for longest is forgotten.

    What is kept of each is the instant at which it would have been empty without its burst.
    """

    def __init__(self) -> None:
        self._empty_s: OrderedDict[str, float] = OrderedDict()

    def ready_s(self, uid: str, *, reserve: int = 0) -> float:
        """From when on there is a token besides a reserve of so many, on the clock of ``take``."""
        return self._empty_s.get(uid, -math.inf) + (1 + reserve) * REFILL_S

    def take(self, uid: str, *, now_s: float) -> None:
        """Use up a token, which there must be."""
        empty_s = max(self._empty_s.get(uid, -math.inf), now_s - BURST * REFILL_S)
        self._empty_s[uid] = empty_s + REFILL_S
        self._empty_s.move_to_end(uid)
        if len(self._empty_s) > MAX_OBJECTS:
            self._empty_s.popitem(last=False)

"""How patient the watch of the pods is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTimes:
    """How long things may take, in seconds."""

    watch_s: tuple[float, float] = (300.0, 600.0)
    """One watch, at random between these."""
    silence_s: float = 100.0
    """A watch that says nothing for so long may be dead, and is asked for anew. Bookmarks come every minute, but
    only while pods change somewhere in the cluster, or etcd tells the API server of its progress."""
    list_s: float = 60.0
    steady_s: float = 10.0
    """A watch that lasted so long worked."""
    audit_s: float = 1800.0
    """Between two comparisons with a list, give or take a fifth."""
    early_audit_s: float = 600.0
    """The same after a silent watch, which may be from a version that is yet to come; and between two tries."""
    catch_up_s: float = 300.0
    """In which a watch must come up to a list."""
    requests_a_minute: int = 9
    """Never more, whatever happens; a 401 makes two of one on the wire."""

"""One open watch: which events it shows, in which order, and how it may be made to misbehave."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .exchange import Call, check_accept, shown, to_json
from .lists import MATCH, forbidden, version_of
from .selectors import Selector, selector_of
from .state import Change, Json, Store
from .statuses import bad_request, invalid_options, status

TRUE = ("1", "true", "True", "TRUE", "t", "T")
DEFAULT_TIMEOUT_S = 2400.0
# the real one picks the last bookmark's time so that it comes about two seconds before the end
LAST_BOOKMARK_S = 2.0


class End(Enum):
    """How a stream ends."""

    CLEAN = "with the terminating chunk"
    CUT = "FIN without the terminating chunk, as of a killed server"
    RESET = "a TCP reset"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the query asks for. ``initial`` asks for synthetic ADDED events first."""

    selector: Selector
    since: int
    initial: bool
    marks_initial_end: bool
    bookmarks: bool
    timeout_s: float


def options_of(store: Store, call: Call) -> WatchOptions:
    """Read the query. Raises RefusedError: 400, 406, 422, 500 (a bad resourceVersion is that in a watch)."""
    check_accept(call)
    query = call.query
    timeout = query.get("timeoutSeconds", "")
    if timeout and not timeout.isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{timeout}": invalid syntax')
    streams_list = _check_initial_events(call)
    selector = selector_of(call.attempt.namespace, query)
    asked = query.get("resourceVersion", "")
    since = version_of(asked, "", code=500)
    bookmarks = query.get("allowWatchBookmarks") in TRUE
    initial = streams_list or (asked in ("", "0") and "sendInitialEvents" not in query)
    return WatchOptions(
        selector=selector,
        since=store.version if initial or asked in ("", "0") else since,
        initial=initial,
        # with resourceVersion=0 the mark comes too, unasked
        marks_initial_end=bookmarks and (streams_list or asked == "0"),
        bookmarks=bookmarks,
        timeout_s=float(timeout) if timeout else DEFAULT_TIMEOUT_S,
    )


def _check_initial_events(call: Call) -> bool:
    query = call.query
    if "sendInitialEvents" in query:
        if query.get(MATCH) != "NotOlderThan":
            why = f"sendInitialEvents requires setting {MATCH} to NotOlderThan"
            raise invalid_options("ListOptions", forbidden(why))
        return query["sendInitialEvents"] in TRUE
    if MATCH in query:
        why = f"{MATCH} is forbidden for watch unless sendInitialEvents is provided"
        raise invalid_options("ListOptions", forbidden(why))
    return False


@dataclass(eq=False, slots=True)
class Watch:
    """An open watch. Tests may write into it (``send``) or end it (``finish``)."""

    call: Call
    options: WatchOptions
    store: Store
    sends_bookmarks: Callable[[], bool]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    end: End | None = None
    _queue: deque[bytes] = field(default_factory=deque)

    def begin(self) -> None:
        """Queue what comes at once: an ERROR, the present pods, or the changes missed."""
        options = self.options
        if not options.initial and options.since < self.store.oldest:
            self._queue.append(_expired(options.since, self.store.oldest))
            self.finish(End.CLEAN)
            return
        if options.initial:
            for key in sorted(self.store.pods):
                if options.selector.matches(self.store.pods[key]):
                    self._queue.append(self._line("ADDED", self.store.pods[key]))
            if options.marks_initial_end:
                self.bookmark({"k8s.io/initial-events-end": "true"})
        else:
            for change in self.store.history:
                self.tell(change)

    def tell(self, change: Change) -> None:
        """Queue the event that this watch shows for a change, if any."""
        if change.version <= self.options.since:
            return
        was, now = self.options.selector.matches(change.before), self.options.selector.matches(change.after)
        if now:
            self.send(self._line("MODIFIED" if was else "ADDED", change.after or {}))
        elif was and change.before is not None:
            # the last state that this watch knew, under the version of what took it away
            metadata = change.before["metadata"] | {"resourceVersion": str(change.version)}
            self.send(self._line("DELETED", change.before | {"metadata": metadata}))

    def bookmark(self, annotations: Json | None = None) -> None:
        """Queue a bookmark of the present resourceVersion.

        But for the one that ends the initial events, the real server sends none while nothing was
        stored since the watch began: a watch may be silent for as long as it lasts.
        """
        is_news = bool(annotations) or self.store.version > self.options.since
        if not self.sends_bookmarks() or not is_news:
            return
        metadata: Json = {"resourceVersion": str(self.store.version)}
        if annotations:
            metadata["annotations"] = annotations
        pod = {"metadata": metadata, "spec": {"containers": None}, "status": {}}
        self.send(self._line("BOOKMARK", pod))

    def send(self, raw: bytes) -> None:
        """Queue raw bytes."""
        self._queue.append(raw)
        self.wake.set()

    def finish(self, end: End) -> None:
        """End the stream after what is queued."""
        self.end = end
        self.wake.set()

    def lines(self) -> Iterator[bytes]:
        """Take what is queued."""
        while self._queue:
            yield self._queue.popleft()

    def _line(self, kind: str, pod: Json) -> bytes:
        body: dict[str, Any] = {"type": kind, "object": shown(self.call, pod)}
        return to_json(body) + b"\n"


def bookmark_times(timeout_s: float, interval_s: float) -> Iterator[float]:
    """When bookmarks are due, in seconds after the watch was opened."""
    last_s = timeout_s - LAST_BOOKMARK_S
    due_s = interval_s
    while due_s < last_s:
        yield due_s
        due_s += interval_s
    if last_s > 0:
        yield last_s


def _expired(asked: int, oldest: int) -> bytes:
    error = status(410, f"too old resource version: {asked} ({oldest})", "Expired")
    return to_json({"type": "ERROR", "object": error}) + b"\n"


def is_watch(query: Mapping[str, str]) -> bool:
    """Whether the query asks for a watch."""
    return query.get("watch", "") in TRUE

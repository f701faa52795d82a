"""The two requests that the directory makes, with every way in which they fail told as one error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from oomtracer.kube.api import Api, ApiUnreachableError, Response, Stream
from oomtracer.kube.json_list import MalformedError
from oomtracer.kube.lines import LineSplitter, LineTooLongError
from oomtracer.kube.pace import Pace
from oomtracer.kube.records import PIECE_BYTES, PodList, PodListReader, PodReader, WatchEvent
from oomtracer.kube.status import status_of
from oomtracer.kube.trouble import Trouble, TroubleError, refusal
from oomtracer.printable import printable

PODS: Final = "/api/v1/pods"
LIST: Final = "list"
WATCH: Final = "watch"
# Between two pieces of a list's body.
_LIST_SILENCE_S: Final = 30.0
# A server may end a watch a little later than asked; one that does not at all is left.
_GRACE_S: Final = 30.0


class PodRequests:
    """Lists and watches the pods of one node; ``made`` counts requests by verb."""

    def __init__(self, api: Api, reader: PodReader, pace: Pace, *, node_name: str) -> None:
        self.made = {LIST: 0, WATCH: 0}
        self._api = api
        self._reader = reader
        self._pace = pace
        self._selector = {"fieldSelector": f"spec.nodeName={node_name}"}

    async def list_pods(self, version: int, *, timeout_s: float) -> PodList:
        """The pods as they are, at least as new as ``version``; 0 for whatever the server has at hand.

        Raises TroubleError.
        """
        reader = PodListReader(self._reader)
        query = {"resourceVersion": str(version)}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._stream(LIST, query, silence_s=_LIST_SILENCE_S) as stream,
            ):
                async for chunk in stream.chunks():
                    await _feed(reader, chunk)
                return reader.finish()
        except TimeoutError as error:
            raise TroubleError(Trouble.UNREACHABLE, f"the list takes more than {timeout_s:.0f} s") from error

    async def watch_pods(
        self,
        version: int,
        *,
        timeout_s: float,
        silence_s: float,
        answered: Callable[[], None],
        take: Callable[[WatchEvent], None],
    ) -> None:
        """Take what changes after ``version``, to the clean end of the watch.

        ``answered`` is called once when it begins. Raises TroubleError.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": f"{timeout_s:.0f}",
        }
        splitter = LineSplitter()
        leave_s = asyncio.get_running_loop().time() + timeout_s + _GRACE_S
        async with self._stream(WATCH, query, silence_s=silence_s) as stream:
            answered()
            async for chunk in stream.chunks():
                self._take_lines(splitter.feed(chunk), take)
                if asyncio.get_running_loop().time() > leave_s:
                    return
            self._take_lines([splitter.rest()], take)

    def _take_lines(self, lines: list[bytes], take: Callable[[WatchEvent], None]) -> None:
        for line in lines:
            if line.strip():
                take(self._reader.event_of_line(line))

    @asynccontextmanager
    async def _stream(
        self, verb: str, query: Mapping[str, str], *, silence_s: float
    ) -> AsyncIterator[Stream]:
        await self._pace.wait()
        self.made[verb] += 1
        asked = {**self._selector, **query}
        try:
            async with self._api.stream(PODS, query=asked, read_timeout_s=silence_s) as stream:
                if stream.status != 200:
                    answer = Response(stream.status, stream.headers, await stream.body())
                    raise refusal(status_of(answer), verb)
                yield stream
        except ApiUnreachableError as error:
            raise TroubleError(Trouble.UNREACHABLE, printable(f"{verb} of pods: {error}")) from error
        except MalformedError as error:
            raise TroubleError(Trouble.MALFORMED, str(error), relist=True) from error
        except LineTooLongError as error:
            raise TroubleError(
                Trouble.LINE_TOO_LONG, "a line of the watch is too long", relist=True
            ) from error


async def _feed(reader: PodListReader, chunk: bytes) -> None:
    # Of a compressed list, a chunk can be megabytes: kills are not to wait until they are parsed.
    for start in range(0, len(chunk), PIECE_BYTES):
        reader.feed(chunk[start : start + PIECE_BYTES])
        await asyncio.sleep(0)

"""What is served: handlers by path, and the response to each request. No sockets here."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

_log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_ALLOW = "GET, HEAD"


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: status, body and the body's media type.

    The status is 200 or an error (400 to 599): the only kinds that always have a body. Raises ValueError for
    another status, and for a content type that cannot stand in a header line.
    """

    body: bytes
    content_type: str = _TEXT
    status: int = HTTPStatus.OK
    allow: str = ""
    """The methods allowed instead, of a 405."""

    def __post_init__(self) -> None:
        if self.status != HTTPStatus.OK and not HTTPStatus(self.status) >= HTTPStatus.BAD_REQUEST:
            msg = f"{self.status} is neither 200 nor an error"
            raise ValueError(msg)
        if not (
            self.content_type.isascii() and self.content_type.isprintable() and self.content_type.strip()
        ):
            msg = f"{self.content_type!a} is not a content type"
            raise ValueError(msg)

    @property
    def reason(self) -> str:
        """The status in words, such as ``Not Found``."""
        return HTTPStatus(self.status).phrase

    @classmethod
    def error(cls, status: int, *, allow: str = "") -> Response:
        """Return the response whose body is the name of ``status``, in one line."""
        return cls(f"{status} {HTTPStatus(status).phrase}\n".encode(), status=status, allow=allow)


Headers: TypeAlias = Mapping[str, str]
"""A request's headers: names in lower case, values of a repeated name joined with a comma."""

Handler: TypeAlias = Callable[[Headers], Response]
"""Answers GET and HEAD of one path at once; it runs on the event loop and may not block."""

Routes: TypeAlias = Mapping[str, Handler]
"""A handler for each path, such as ``/metrics``. Query strings are not part of it."""


def probe(fault: Callable[[], str]) -> Handler:
    """Make the handler of a probe: 200 ``ok`` while ``fault()`` is empty, else 503 with its text."""

    def answer(_headers: Headers) -> Response:
        reason = fault()
        if reason:
            return Response(f"{reason}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")

    return answer


class Router:
    """Finds and calls the handler; one that fails is a 500, and is logged when it starts to fail."""

    def __init__(self, routes: Routes) -> None:
        self._routes = dict(routes)
        self._failing: set[str] = set()

    def respond(self, method: bytes, target: bytes, headers: Headers) -> Response:
        """Return the response to one request; never raises for what a client or a handler does."""
        path = _path(target)
        handler = self._routes.get(path)
        if handler is None:
            return Response.error(HTTPStatus.NOT_FOUND)
        if method not in (b"GET", b"HEAD"):
            return Response.error(HTTPStatus.METHOD_NOT_ALLOWED, allow=_ALLOW)
        try:
            response = handler(headers)
        except Exception as error:  # noqa: BLE001  a handler's bug may not end the server
            self._log_failure(path, error)
            return Response.error(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._failing.discard(path)
        return response

    def _log_failure(self, path: str, error: Exception) -> None:
        """Log the first failure in a row. The message goes escaped: it may quote the client's headers."""
        if path in self._failing:
            return
        self._failing.add(path)
        _log.error("cannot answer %s: %s (logged once until it works again)", path, type(error).__name__)
        stack = "".join(traceback.format_tb(error.__traceback__))
        _log.debug("cannot answer %s: %s: %.500a\n%s", path, type(error).__name__, str(error), stack)


def _path(target: bytes) -> str:
    """Return the path of a request target, also of the absolute form ``http://host/path?query``."""
    path = target.partition(b"?")[0].decode("latin-1")
    if path.startswith("/"):
        return path
    _, _, after_scheme = path.partition("://")
    return "/" + after_scheme.partition("/")[2]

"""Why there was no answer, in a few words that hold no secret: exceptions of aiohttp, ssl and the system."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from oomtracer.errors import OomTracerError
from oomtracer.kube.api import ApiUnreachableError
from oomtracer.kube.bodies import TooLongError
from oomtracer.kube.pem import tls_reason
from oomtracer.printable import printable

CONNECT_S = 5.0
"""For a new connection: its name looked up, TCP and TLS agreed on."""

ERRORS = (aiohttp.ClientError, OSError, ValueError, RuntimeError)
"""What a request raises, beside its own cancellation. A TimeoutError is an OSError; RuntimeError: closed."""

_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
# Among them a certificate that is not believed, and a proxy that makes no connection.

_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ConnectionTimeoutError, f"no connection in {CONNECT_S:.0f} s"),
    (aiohttp.ServerDisconnectedError, "connection closed without an answer"),
    (aiohttp.ClientPayloadError, "answer cut off"),
    (aiohttp.ClientConnectionResetError, "connection reset"),
    (aiohttp.ClientResponseError, "answer is no HTTP"),
    (aiohttp.ClientConnectorDNSError, "name is not known"),
    (RuntimeError, "connection is closed"),
)


class SentBeforeError(Exception):
    """A request that had been sent on one connection, and for which no other could be made then."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


@contextmanager
def explained(where: str, timeout_s: float) -> Iterator[None]:
    """Turn whatever a request to that server raises into an ApiUnreachableError, without the original.

    That one may show what ours may not: a proxy's password, for one.
    """
    try:
        yield
    except TooLongError:
        raise ApiUnreachableError(f"{where}: answer too long") from None
    except OomTracerError as error:
        raise ApiUnreachableError(f"{where}: {error}", was_sent=False) from None
    except SentBeforeError as error:
        raise ApiUnreachableError(f"{where}: {reason_of(error.reason, timeout_s=timeout_s)}") from None
    except ERRORS as error:
        was_sent = not isinstance(error, _NEVER_CONNECTED)
        reason = reason_of(error, timeout_s=timeout_s)
        raise ApiUnreachableError(f"{where}: {reason}", was_sent=was_sent) from None


def reason_of(error: BaseException, *, timeout_s: float) -> str:
    """The reason, without the address; ``timeout_s`` is what has run out if an answer was waited for."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"proxy answered {error.status}"
    tls_error = _tls_error(error)
    if tls_error is not None:
        return f"TLS: {printable(tls_reason(tls_error))}"
    for kind, text in _KINDS:
        if isinstance(error, kind):
            return text
    if isinstance(error, TimeoutError):
        return f"no answer in {timeout_s:g} s"
    return _system_reason(error)


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """The TLS library's own exception, which aiohttp wraps in one of three ways."""
    candidates = (
        getattr(error, "certificate_error", None),
        getattr(error, "os_error", None),
        error.__cause__,
        error,
    )
    return next((one for one in candidates if isinstance(one, ssl.SSLError)), None)


def _system_reason(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    return os.strerror(number).lower() if number else f"request failed: {type(error).__name__}"

"""What a request is authenticated with, and when that has to be obtained anew."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.pem import ClientCertificate

logger = logging.getLogger("oomtracer.kube")

EXPIRES_EARLY_S = 10.0
"""A credential is replaced this long before it expires."""

AGAIN_S = 10.0
"""At least between two attempts to obtain what fails or expires at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A value for the header Authorization, a client certificate, both or neither."""

    authorization: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None
    good_for_s: float = field(default=float("inf"), compare=False)
    """From when it was obtained to when it is to be obtained anew."""


def bearer(token: str, origin: str) -> str:
    """The header's value for a token, white space around it removed.

    Raises UsageError, which names the token's origin: empty, or nothing that a header could carry.
    """
    bare = token.strip()
    if not bare:
        raise UsageError(f"{origin} is empty", hint="Wait until it has been written, or log in again.")
    if not bare.isascii() or not bare.isprintable() or " " in bare:
        raise UsageError(f"{origin} holds something else than a token", hint="Log in again.")
    return f"Bearer {bare}"


class Credentials:
    """Holds the current credential, and replaces it when its time is up or the server has refused it.

    ``obtain`` raises OomTracerError. With an older credential at hand this is only logged, and tried again later.
    ``pause_s``: at least between two times that a refusal makes it obtain a new one.
    """

    def __init__(
        self,
        obtain: Callable[[], Awaitable[Credential]],
        *,
        pause_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._obtain = obtain
        self._pause_s = pause_s
        self._clock = clock
        self._held: Credential | None = None
        self._renew_at_s = -float("inf")
        self._refused_at_s = -float("inf")
        self._failing = False
        self._failure: OomTracerError | None = None  # of the first credential
        self._failed_at_s = -float("inf")
        self._one_at_a_time = asyncio.Lock()

    async def current(self) -> Credential:
        """The credential for a request that starts now. Raises OomTracerError: there has never been one."""
        asked_s = self._clock()
        async with self._one_at_a_time:
            if self._failure is not None and self._failed_at_s > asked_s:
                # Of those who wait for a plugin that hangs, not each has to wait for a run of its own.
                raise OomTracerError(self._failure.message, hint=self._failure.hint)
            if self._held is None or self._clock() >= self._renew_at_s:
                self._held = await self._renewed(self._held)
            return self._held

    async def instead_of(self, refused: Credential) -> Credential | None:
        """Another credential than the one that the server answered 401 to, None if there is none for now."""
        async with self._one_at_a_time:
            if self._held == refused and self._clock() >= self._refused_at_s + self._pause_s:
                self._refused_at_s = self._clock()
                self._held = await self._renewed(refused)
            return self._held if self._held != refused else None

    async def _renewed(self, old: Credential | None) -> Credential:
        try:
            new = await self._obtain()
        except OomTracerError as error:
            if old is None:
                self._failure, self._failed_at_s = error, self._clock()
                raise
            self._note_failure(error)
            self._renew_at_s = self._clock() + AGAIN_S
            return old
        self._failing = False
        self._failure = None
        self._renew_at_s = self._clock() + max(new.good_for_s, AGAIN_S)
        return new

    def _note_failure(self, error: OomTracerError) -> None:
        if not self._failing:
            logger.warning("cannot renew the credentials for the API server: %s", error)
        self._failing = True

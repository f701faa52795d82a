"""OpenID Connect tokens of a kubeconfig (``auth-provider: oidc``), refreshed at their issuer.

kubernetes_asyncio's own refresh does not verify the issuer's certificate, and fails if a CA is given for it.
What the issuer answers is kept in memory: the kubeconfig is a person's, and may be read-only.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import aiohttp

from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.bodies import read_start
from oomtracer.kube.credentials import EXPIRES_EARLY_S, Credential, bearer
from oomtracer.kube.kubeconfig import Access, text
from oomtracer.kube.unreachable import ERRORS, reason_of
from oomtracer.printable import printable

_TIMEOUT_S = 20.0
_ANSWER_BYTES = 1 << 20
_CORRECT = "Correct the user's section auth-provider."


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Whom to ask for a new token, and as which client."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    tls: ssl.SSLContext


class OidcLogin:
    """Holds the two tokens of a login: the one that requests carry, and the one that buys the next."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        id_token: str,
        refresh_token: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._unused = id_token
        self._refresh_token = refresh_token
        self._wall_clock = wall_clock

    async def obtain(self) -> Credential:
        """The kubeconfig's token, once, if it still lives; a new one from the issuer. Raises OomTracerError."""
        token, self._unused = self._unused, ""
        if not token or self._good_for_s(token) <= 0:
            token = await self._refreshed()
        return Credential(authorization=bearer(token, "the OIDC token"), good_for_s=self._good_for_s(token))

    async def _refreshed(self) -> str:
        if not self._refresh_token:
            raise _failed("the OIDC token has expired, and the kubeconfig has no refresh-token")
        answer = await _refresh(self._issuer, self._refresh_token)
        self._refresh_token = str(answer.get("refresh_token") or self._refresh_token)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _failed("the OIDC issuer gave no id_token")
        return token

    def _good_for_s(self, token: str) -> float:
        expires_s = _expiry_s(token)
        return float("inf") if expires_s is None else expires_s - self._wall_clock() - EXPIRES_EARLY_S


def oidc_login_of(access: Access) -> OidcLogin:
    """Read the section ``auth-provider``. Raises UsageError."""
    section = access.user["auth-provider"]
    name = section.get("name") if isinstance(section, dict) else None
    if name != "oidc":
        raise UsageError(
            f"kubeconfig: there is no auth-provider {printable(repr(name))}",
            hint="Only oidc is left; clouds have credential plugins (exec) instead.",
        )
    config = section.get("config") or {}
    if not isinstance(config, dict) or not all(config.get(key) for key in ("idp-issuer-url", "client-id")):
        raise UsageError("kubeconfig: auth-provider oidc needs idp-issuer-url and client-id", hint=_CORRECT)
    issuer = Issuer(
        url=text(config, "idp-issuer-url").rstrip("/"),
        client_id=text(config, "client-id"),
        client_secret=text(config, "client-secret"),
        tls=_tls(config, access.folder),
    )
    return OidcLogin(issuer, id_token=text(config, "id-token"), refresh_token=text(config, "refresh-token"))


def _tls(config: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    file, data = text(config, "idp-certificate-authority"), text(config, "idp-certificate-authority-data")
    try:
        if data:
            return ssl.create_default_context(cadata=base64.b64decode(data, validate=True).decode("ascii"))
        return ssl.create_default_context(cafile=str(folder / file) if file else None)
    except (OSError, ValueError):
        raise UsageError(
            "kubeconfig: the OIDC issuer's CA certificate cannot be read", hint=_CORRECT
        ) from None


def _expiry_s(token: str) -> float | None:
    """The Unix time in the token's claim ``exp``; it is not ours to verify the rest."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return float(claims["exp"])
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return None


async def _refresh(issuer: Issuer, refresh_token: str) -> Mapping[str, Any]:
    try:
        async with _session(issuer) as session:
            found = await _answer(session, "GET", f"{issuer.url}/.well-known/openid-configuration")
            return await _answer(
                session, "POST", str(found.get("token_endpoint")), **_form(issuer, refresh_token)
            )
    except ERRORS as error:
        raise _failed(f"the OIDC issuer cannot be asked: {reason_of(error, timeout_s=_TIMEOUT_S)}") from None


def _session(issuer: Issuer) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=issuer.tls),
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        trust_env=False,
        headers={"Accept": "application/json"},
    )


def _form(issuer: Issuer, refresh_token: str) -> dict[str, Any]:
    """The request of RFC 6749, section 6; a client without a secret names itself in the form instead."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    if not issuer.client_secret:
        return {"data": {**form, "client_id": issuer.client_id}}
    pair = f"{quote_plus(issuer.client_id)}:{quote_plus(issuer.client_secret)}"
    return {"data": form, "headers": {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}}


async def _answer(session: aiohttp.ClientSession, method: str, url: str, **request: Any) -> Mapping[str, Any]:
    async with session.request(method, url, allow_redirects=False, **request) as response:
        body = await read_start(response, _ANSWER_BYTES)
        answer = json.loads(body) if response.status == 200 else None
    if not isinstance(answer, dict):
        raise _failed(f"the OIDC issuer refused: {response.status}")
    return answer


def _failed(reason: str) -> OomTracerError:
    return OomTracerError(reason, hint="Log in again, so that the kubeconfig holds new tokens.")

from __future__ import annotations

import base64
import json
import time
from urllib.parse import parse_qs

import pytest

from oomtracer.errors import OomTracerError, UsageError

from .certificates import Authority
from .raw_server import HOST, Answer, RawServer, answer, connected, run

SECRET = "cl13nt-s3cr3t"


def token(name: str, expires_in_s: float | None = 3600) -> str:
    """Make an ID token: a JWT whose signature nobody checks here."""
    claims = {"sub": name} | ({} if expires_in_s is None else {"exp": time.time() + expires_in_s})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({}, claims)]
    return b".".join([*parts, b"signature"]).decode()


def json_answer(document: object, status: int = 200) -> Answer:
    """Answer with JSON."""
    return answer(status, json.dumps(document).encode(), Content_Type="application/json")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    """Make the CA of the issuer."""
    return Authority(tmp_path_factory.mktemp("oidc") / "issuer")


@pytest.fixture(scope="module")
def tls(authority):
    """Make the issuer's TLS."""
    return authority.server_context(authority.issue("issuer", alternative=f"IP:{HOST}"))


def user(issuer: RawServer, authority: Authority | None, **more) -> dict:
    """The section of a user who logged in at this issuer."""
    config = {"idp-issuer-url": f"{issuer.url}/realm/", "client-id": "id:1", "client-secret": SECRET, **more}
    if authority is not None:
        data = base64.b64encode(authority.certificate.read_bytes()).decode()
        config["idp-certificate-authority-data"] = data
    return {"auth-provider": {"name": "oidc", "config": config}}


def discovery(issuer: RawServer) -> Answer:
    """Answer where tokens are to be had."""
    return json_answer({"token_endpoint": f"{issuer.url}/token"})


def test_a_token_that_lives_is_used(tls, authority):
    """The kubeconfig's token is sent, and the issuer not asked."""
    held = token("held")

    async def scene() -> tuple[RawServer, RawServer]:
        async with RawServer(tls=tls) as issuer, RawServer() as server:
            section = user(issuer, authority, **{"id-token": held})
            async with connected(server.url, user=section) as api:
                await api.request("GET", "/")
        return issuer, server

    issuer, server = run(scene())
    assert issuer.requests == []
    assert server.requests[0].headers["authorization"] == f"Bearer {held}"


def test_an_expired_token_is_refreshed_and_the_new_refresh_token_is_kept(tls, authority):
    """The issuer is asked with the client's secret; each refresh token is used once if the issuer wants so."""
    tokens = [token("first", -5), token("second"), token("third")]

    async def scene() -> tuple[RawServer, RawServer]:
        async with RawServer(tls=tls) as issuer, RawServer([answer(), answer(401), answer()]) as server:
            issuer.script = [
                discovery(issuer),
                json_answer({"id_token": tokens[1], "refresh_token": "r2"}),
                discovery(issuer),
                json_answer({"id_token": tokens[2]}),
            ]
            section = user(issuer, authority, **{"id-token": tokens[0], "refresh-token": "r1"})
            async with connected(server.url, user=section) as api:
                assert (await api.request("GET", "/")).status == 200
                assert (await api.request("GET", "/")).status == 200
        return issuer, server

    issuer, server = run(scene())
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == [f"Bearer {tokens[1]}", f"Bearer {tokens[1]}", f"Bearer {tokens[2]}"]
    assert issuer.requests[0].line == "GET /realm/.well-known/openid-configuration HTTP/1.1"
    forms = [parse_qs(issuer.requests[number].body.decode()) for number in (1, 3)]
    assert forms == [{"grant_type": ["refresh_token"], "refresh_token": [name]} for name in ("r1", "r2")]
    expected = base64.b64encode(f"id%3A1:{SECRET}".encode()).decode()
    assert issuer.requests[1].headers["authorization"] == f"Basic {expected}"


def test_a_client_without_a_secret_names_itself(tls, authority):
    """A public client sends its name in the form."""

    async def scene() -> RawServer:
        async with RawServer(tls=tls) as issuer:
            issuer.script = [discovery(issuer), json_answer({"id_token": token("a")})]
            section = user(issuer, authority, **{"client-secret": "", "refresh-token": "r"})
            async with connected("https://127.0.0.1:1", user=section):
                pass
        return issuer

    received = run(scene()).requests[1]
    assert "authorization" not in received.headers
    assert parse_qs(received.body.decode())["client_id"] == ["id:1"]


def failure(issuer_tls, script, authority, **more) -> str:
    """Try to log in where that must fail: what is told, which is never a secret."""

    async def scene() -> None:
        async with RawServer(tls=issuer_tls) as issuer:
            issuer.script = [discovery(issuer) if one is None else one for one in script]
            section = user(issuer, authority, **more)
            async with connected("https://127.0.0.1:1", user=section):
                pass

    with pytest.raises(OomTracerError) as caught:
        run(scene())
    told = f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert SECRET not in told
    assert "r3fr3sh" not in told
    assert caught.value.hint
    return str(caught.value)


EXPIRED = {"id-token": token("old", -5), "refresh-token": "r3fr3sh"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([answer(404)], "the OIDC issuer refused: 404"),
        ([None, json_answer({"error": "invalid_grant"}, 400)], "the OIDC issuer refused: 400"),
        ([None, json_answer({})], "the OIDC issuer gave no id_token"),
        ([None, json_answer([SECRET])], "the OIDC issuer refused: 200"),
        ([None, answer(200, SECRET.encode())], "the OIDC issuer cannot be asked"),
        ([answer(302, b"", Location="http://127.0.0.1:1/")], "the OIDC issuer refused: 302"),
        ([json_answer({})], "the OIDC issuer cannot be asked"),
        ([Answer(then="close")], "the OIDC issuer cannot be asked: connection closed without an answer"),
    ],
)
def test_an_issuer_that_does_not_help(tls, authority, script, said):
    """Whatever the issuer answers instead of a token is told in a few words."""
    assert said in failure(tls, script, authority, **EXPIRED)


def test_an_issuer_that_cannot_be_believed_is_told_nothing(tls):
    """Without its CA, the issuer's certificate fails, and no secret is sent."""
    assert "TLS: certificate verify failed" in failure(tls, [None], None, **EXPIRED)


def test_an_expired_token_without_a_refresh_token(tls, authority):
    """Nothing can be done but to log in again."""
    said = failure(tls, [None], authority, **{"id-token": EXPIRED["id-token"]})
    assert said == "the OIDC token has expired, and the kubeconfig has no refresh-token"


@pytest.mark.parametrize("held", ["opaque", "a.b.c", token("x", None)])
def test_a_token_without_a_time_is_good_until_refused(held):
    """What cannot be read as a JWT with an expiry is used as it is."""

    async def scene() -> RawServer:
        async with RawServer() as server:
            config = {"idp-issuer-url": "https://127.0.0.1:1", "client-id": "x", "id-token": held}
            section = {"auth-provider": {"name": "oidc", "config": config}}
            async with connected(server.url, user=section) as api:
                await api.request("GET", "/")
        return server

    assert run(scene()).requests[0].headers["authorization"] == f"Bearer {held}"


ISSUER = {"idp-issuer-url": "https://issuer.invalid", "client-id": "x"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "needs idp-issuer-url and client-id"),
        ([1], "needs idp-issuer-url and client-id"),
        (ISSUER | {"client-id": 7}, "client-id is no text"),
        (
            ISSUER | {"idp-certificate-authority": "/no/such"},
            "the OIDC issuer's CA certificate cannot be read",
        ),
        (
            ISSUER | {"idp-certificate-authority-data": "%%"},
            "the OIDC issuer's CA certificate cannot be read",
        ),
        (
            ISSUER | {"idp-certificate-authority-data": "eA=="},
            "the OIDC issuer's CA certificate cannot be read",
        ),
    ],
)
def test_broken_sections(config, said):
    """A section that cannot work is refused when connecting."""

    async def scene() -> None:
        user = {"auth-provider": {"name": "oidc", "config": config}}
        async with connected("https://127.0.0.1:1", user=user):
            pass

    with pytest.raises(UsageError, match=said) as caught:
        run(scene())
    assert caught.value.hint

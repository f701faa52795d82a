from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oomtracer.config import Cluster
from oomtracer.errors import UsageError
from oomtracer.kube.api import ApiUnreachableError
from oomtracer.kube.connection import connect

from .certificates import Authority, Pair
from .raw_server import HOST, RawServer, connected, kubeconfig, run

ADDRESS = f"IP:{HOST}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    """Make the CA of the cluster."""
    return Authority(tmp_path_factory.mktemp("tls") / "cluster")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    """Make another CA."""
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture(scope="module")
def server_pair(authority) -> Pair:
    """Make the certificate of a server on the loopback."""
    return authority.issue("server", alternative=ADDRESS)


def encoded(path: Path) -> str:
    """A file as a kubeconfig holds it."""
    return base64.b64encode(path.read_bytes()).decode()


def asked(tls: ssl.SSLContext, **settings) -> tuple[int | str, RawServer]:
    """Ask a TLS server once: the status, or the reason why there was no answer."""

    async def scene() -> tuple[int | str, RawServer]:
        async with RawServer(tls=tls) as server, connected(server.url, **settings) as api:
            try:
                return (await api.request("GET", "/")).status, server
            except ApiUnreachableError as error:
                return str(error).partition(": ")[2], server

    return run(scene())


@pytest.mark.parametrize("form", ["file", "data"])
def test_a_server_of_the_right_ca_is_believed(authority, server_pair, form):
    """The kubeconfig's CA, named or contained, is the one that the server's certificate must come from."""
    ca = authority.certificate
    key = "certificate-authority" + ("-data" if form == "data" else "")
    cluster = {key: encoded(ca) if form == "data" else str(ca)}
    status, server = asked(authority.server_context(server_pair), cluster=cluster)
    assert status == 200
    assert server.requests[0].headers["authorization"] == "Bearer secret-token"


def test_a_server_of_another_ca_is_not_asked(authority, stranger, server_pair):
    """A certificate that the CA did not sign ends the connection before the token is sent."""
    cluster = {"certificate-authority": str(stranger.certificate)}
    reason, server = asked(authority.server_context(server_pair), cluster=cluster)
    assert str(reason).startswith("TLS: certificate verify failed: ")
    assert server.requests == []


def test_without_a_ca_the_systems_are_asked(authority, server_pair):
    """A kubeconfig without CA trusts what the system trusts, which is not this one."""
    reason, server = asked(authority.server_context(server_pair))
    assert str(reason).startswith("TLS: certificate verify failed: ")
    assert server.requests == []


def test_a_server_with_another_name_is_not_asked(authority):
    """The certificate must be for the address that was asked for."""
    pair = authority.issue("other", alternative="DNS:api.example.com")
    cluster = {"certificate-authority": str(authority.certificate)}
    reason, server = asked(authority.server_context(pair), cluster=cluster)
    assert "IP address mismatch" in str(reason)
    assert server.requests == []


def test_the_name_can_be_given(authority):
    """``tls-server-name`` says which name the certificate is for."""
    pair = authority.issue("named", alternative="DNS:api.example.com")
    cluster = {"certificate-authority": str(authority.certificate), "tls-server-name": "api.example.com"}
    status, _ = asked(authority.server_context(pair), cluster=cluster)
    assert status == 200


def test_verification_can_be_switched_off_and_that_is_said(authority, server_pair, caplog):
    """``insecure-skip-tls-verify`` works, with a warning."""
    cluster = {"insecure-skip-tls-verify": True}
    status, _ = asked(authority.server_context(server_pair), cluster=cluster)
    assert status == 200
    assert [record.message for record in caplog.records if record.name == "oomtracer.kube"] == [
        "the API server's certificate is not verified: insecure-skip-tls-verify is set"
    ]


def test_certificates_without_key_identifiers_are_believed(authority, server_pair, monkeypatch):
    """Clusters' CAs often lack what Python 3.13 asks for by default, and kubectl does not mind."""
    create = ssl.create_default_context

    def strict(*args, **more):
        context = create(*args, **more)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)

    async def scene() -> bool:
        cluster = {"certificate-authority": str(authority.certificate)}
        async with connected(f"https://{HOST}:1", cluster=cluster) as api:
            return bool(api._transport._session.connector._ssl.verify_flags & ssl.VERIFY_X509_STRICT)

    assert run(scene()) is False


@pytest.mark.parametrize("form", ["file", "data"])
def test_a_client_certificate_is_shown(authority, server_pair, form):
    """Certificate and key of the kubeconfig authenticate the connection."""
    pair = authority.issue(f"client-{form}")
    if form == "file":
        user = {"client-certificate": str(pair.chain), "client-key": str(pair.key)}
    else:
        user = {"client-certificate-data": encoded(pair.chain), "client-key-data": encoded(pair.key)}
    context = authority.server_context(server_pair, wants_client=True)
    status, server = asked(context, cluster={"certificate-authority": str(authority.certificate)}, user=user)
    assert status == 200
    assert "authorization" not in server.requests[0].headers


def test_a_server_that_wants_a_client_certificate(authority, server_pair):
    """An alert that comes after the handshake is told as TLS's."""
    context = authority.server_context(server_pair, wants_client=True)

    def refuse(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        plain = accepted.dup()
        with plain, context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as wrapped:
            with contextlib.suppress(ssl.SSLError):
                wrapped.do_handshake()
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(4096):  # to close on unread data would destroy the alert
                pass

    async def scene() -> str:
        listener = socket.create_server((HOST, 0))
        with listener, ThreadPoolExecutor(1) as threads:
            threads.submit(refuse, listener)
            address = f"https://{HOST}:{listener.getsockname()[1]}"
            cluster = {"certificate-authority": str(authority.certificate)}
            async with connected(address, cluster=cluster) as api:
                with pytest.raises(ApiUnreachableError) as caught:
                    await api.request("GET", "/")
        return str(caught.value).partition(": ")[2]

    assert run(scene()) == "TLS: tlsv13 alert certificate required"


def memory_files() -> list[str]:
    """Name the open descriptors of this process that are files in memory."""
    links = list(Path("/proc/self/fd").iterdir())
    return [str(link.readlink()) for link in links if link.is_symlink() and "memfd" in str(link.readlink())]


def test_no_key_is_ever_in_a_file(authority, server_pair, monkeypatch, tmp_path):
    """Key material goes to the TLS library through memory, whose descriptors are closed at once."""
    pair = authority.issue("in-memory")
    user = {"client-certificate-data": encoded(pair.chain), "client-key-data": encoded(pair.key)}
    cluster = {"certificate-authority-data": encoded(authority.certificate)}
    loaded: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(context, certfile, keyfile=None, password=None):
        loaded.append(str(Path(keyfile).readlink()))
        load(context, certfile, keyfile, password)

    def no_file(*_args, **_more):
        raise AssertionError("a temporary file")

    async def scene() -> int:
        context = authority.server_context(server_pair, wants_client=True)
        async with RawServer(tls=context) as server:
            config = str(kubeconfig(tmp_path / "config", server.url, user=user, cluster=cluster))
            monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
            monkeypatch.setattr("tempfile.mkstemp", no_file)
            api = await connect(Cluster(kubeconfig=config))
            assert memory_files() == before
            status = (await api.request("GET", "/")).status
            await api.close()
        return status

    before = memory_files()
    assert run(scene()) == 200
    assert loaded
    assert all("memfd" in name for name in loaded)


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"client-certificate": "{pair}"}, {}, "one is missing"),
        ({"client-certificate": "{pair}", "client-key": "{other_key}"}, {}, "key values mismatch"),
        ({"client-certificate": "{key}", "client-key": "{key}"}, {}, "cannot be used"),
        ({"client-certificate": "/no/such", "client-key": "{key}"}, {}, "No such file"),
        (
            {"client-certificate-data": "%%%", "client-key": "{key}"},
            {},
            "client-certificate-data is no base64",
        ),
        ({"client-certificate": "{pair}", "client-key": "{encrypted}"}, {}, "the client key is encrypted"),
        ({}, {"certificate-authority": "/no/such"}, "certificate-authority /no/such: No such file"),
        ({}, {"certificate-authority": "{key}"}, "the cluster's CA certificate cannot be read"),
        ({}, {"certificate-authority-data": ""}, ""),
    ],
)
def test_certificates_that_cannot_be_used(authority, tmp_path, user, cluster, said):
    """What is wrong with certificates is told when connecting, with a remedy, and never asked of a terminal."""
    pair, other = authority.issue("one"), authority.issue("two")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    files = {"pair": pair.chain, "key": pair.key, "other_key": other.key, "encrypted": encrypted}
    user, cluster = ({key: text.format(**files) for key, text in one.items()} for one in (user, cluster))

    async def scene() -> None:
        async with connected(f"https://{HOST}:1", user=user, cluster=cluster):
            pass

    if not said:
        run(scene())
        return
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        run(scene())
    assert caught.value.hint

from __future__ import annotations

from pathlib import Path

import pytest

from oomtracer.config import Cluster
from oomtracer.errors import UsageError
from oomtracer.kube.connection import connect

from .apiserver import FakeApiServer, make_pod
from .apiserver.kubeconfig import certificate
from .raw_server import RawServer, answer, chunked, connected, run

UNAUTHORIZED = answer(401, b"no")


def reading(path: Path, server: RawServer):
    """Connect with a kubeconfig's ``tokenFile``."""
    return connected(server.url, user={"tokenFile": str(path)})


async def in_cluster(server: FakeApiServer, folder):
    """Connect as a pod does."""
    environ = server.write_service_account(folder)
    return await connect(Cluster(), environ=environ, service_account=folder)


def test_a_pod_connects_with_its_account(tmp_path):
    """Address, CA and token are what kubelet gives to each pod."""

    async def scene() -> None:
        async with FakeApiServer(tls=True) as server:
            server.add_pod(make_pod("web-0"))
            api = await in_cluster(server, tmp_path)
            response = await api.request("GET", "/api/v1/pods")
            await api.close()
            assert response.status == 200
            assert b'"web-0"' in response.body
            assert server.requests[0].headers["authorization"] == f"Bearer {server.token}"

    run(scene())


def test_a_rotated_token_is_read_at_once_when_the_old_one_is_refused(tmp_path):
    """A 401 makes the agent read the file again, and the request is tried once more."""

    async def scene() -> None:
        async with FakeApiServer(tls=True) as server:
            api = await in_cluster(server, tmp_path)
            assert (await api.request("GET", "/api/v1/pods")).status == 200
            server.rotate_token("second")
            (tmp_path / "token").write_text("second\n")
            assert (await api.request("GET", "/api/v1/pods")).status == 200
            assert [request.status for request in server.requests] == [200, 401, 200]
            server.rotate_token("third")
            (tmp_path / "token").write_text("third")
            query = {"watch": "1", "timeoutSeconds": "1"}
            async with api.stream("/api/v1/pods", query=query, read_timeout_s=5) as stream:
                assert stream.status == 200
            await api.close()

    run(scene())


@pytest.mark.parametrize(
    ("broken", "how", "said"),
    [
        ("token", "dangling", "token file does not exist"),
        ("token", "empty", "Token file exists but empty"),
        ("token", "folder", "token file does not exist"),
        ("ca.crt", "dangling", "certification file does not exist"),
        ("ca.crt", "empty", "Cert file exists but empty"),
        ("ca.crt", "binary", "the cluster's CA certificate cannot be read|cannot be used"),
        ("ca.crt", "text", "the cluster's CA certificate cannot be read"),
    ],
)
def test_a_broken_account(tmp_path, broken, how, said):
    """What is wrong with the account's files is told, with what to look at."""
    contents = {"empty": b"", "binary": b"\xff\xfe\x00", "text": b"no certificate"}

    async def scene() -> None:
        async with FakeApiServer(tls=True) as server:
            environ = server.write_service_account(tmp_path)
            path = tmp_path / broken
            path.unlink()
            if how in contents:
                path.write_bytes(contents[how])
            elif how == "folder":
                path.mkdir()
            else:
                path.symlink_to(tmp_path / "gone")
            await connect(Cluster(), environ=environ, service_account=tmp_path)

    with pytest.raises(UsageError, match=said) as caught:
        run(scene())
    assert caught.value.hint


def test_a_context_is_no_ones_in_a_pod(tmp_path):
    """--context without a kubeconfig is a mistake, not something to pass over."""
    (tmp_path / "token").write_text("x")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(UsageError, match="--context needs a kubeconfig"):
        run(connect(Cluster(context="x"), environ=environ, service_account=tmp_path))


def test_a_pod_of_an_ipv6_cluster(tmp_path):
    """An address of IPv6 is put into brackets, in requests and in messages."""
    (tmp_path / "token").write_text("x")
    (tmp_path / "ca.crt").write_bytes(certificate()[0].read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}

    async def scene() -> str:
        api = await connect(Cluster(), environ=environ, service_account=tmp_path)
        await api.close()
        return api.where

    assert run(scene()) == "[fd00::1]:443"


def test_a_kubeconfigs_token_file_is_read_again_too(tmp_path):
    """``tokenFile`` is treated as a pod's token."""
    path = tmp_path / "token"
    path.write_text("old\n")

    async def scene() -> RawServer:
        script = [answer(), UNAUTHORIZED, answer()]
        async with RawServer(script) as server, reading(path, server) as api:
            await api.request("GET", "/")
            path.write_text("new\n")
            assert (await api.request("PATCH", "/", body=b"{}")).status == 200
        return server

    sent = [(request.headers["authorization"], request.body) for request in run(scene()).requests]
    assert sent == [("Bearer old", b""), ("Bearer old", b"{}"), ("Bearer new", b"{}")]


@pytest.mark.parametrize("user", [{"token": "a"}, {}])
def test_a_refusal_without_an_alternative_is_an_answer(user):
    """With nothing else to try, a 401 is not tried again."""

    async def scene() -> RawServer:
        async with RawServer([UNAUTHORIZED]) as server, connected(server.url, user=user) as api:
            response = await api.request("GET", "/")
            assert (response.status, response.body) == (401, b"no")
            async with api.stream("/", query={}, read_timeout_s=5) as stream:
                assert (stream.status, await stream.body()) == (401, b"no")
        return server

    assert len(run(scene()).requests) == 2


def test_a_new_token_that_is_refused_too_is_not_tried_again(tmp_path):
    """A request is sent twice at most, and the second 401 is its answer."""
    path = tmp_path / "token"
    path.write_text("old\n")

    async def scene() -> RawServer:
        script = [UNAUTHORIZED, answer(401, b"again")]
        async with RawServer(script) as server, reading(path, server) as api:
            path.write_text("new")
            assert (await api.request("GET", "/")).body == b"again"
        return server

    assert len(run(scene()).requests) == 2


def test_a_lost_token_file_does_not_stop_the_agent(tmp_path, caplog):
    """While the file cannot be read, the old token is used on; that is said once, without the token."""
    path = tmp_path / "token"
    path.write_text("only\n")

    async def scene() -> None:
        script = [UNAUTHORIZED]
        async with RawServer(script) as server, reading(path, server) as api:
            path.unlink()
            for _ in range(3):
                assert (await api.request("GET", "/")).status == 401

    run(scene())
    (record,) = caplog.records
    assert "cannot read the token file" in record.message
    assert "only" not in caplog.text


def test_a_refused_stream_is_opened_again(tmp_path):
    """A watch gets a new token as a request does, and its connection is not left open."""
    path = tmp_path / "token"
    path.write_text("old\n")

    async def scene() -> RawServer:
        script = [UNAUTHORIZED, chunked(b"line\n")]
        async with RawServer(script) as server, reading(path, server) as api:
            path.write_text("new\n")
            async with api.stream("/", query={}, read_timeout_s=5) as stream:
                assert [chunk async for chunk in stream.chunks()] == [b"line\n"]
        return server

    assert [request.headers["authorization"] for request in run(scene()).requests] == [
        "Bearer old",
        "Bearer new",
    ]

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oomtracer.config import Cluster
from oomtracer.errors import UsageError
from oomtracer.kube.api import ApiUnreachableError
from oomtracer.kube.connection import connect
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.records import PodReader
from oomtracer.kube.server import ApiServer
from oomtracer.kube.watch import PodWatcher

from .certificates import Authority
from .raw_server import CLOSE, RawServer, answer, kubeconfig, run
from .test_connection_exec import is_alive, runs, script, until, user

NOWHERE = "https://127.0.0.1:1"


async def patiently(path: Path, url: str, section: dict, **cluster: str) -> ApiServer:
    """Connect as the agent does."""
    config = kubeconfig(path / "config", url, user=section, cluster=cluster)
    return await connect(Cluster(kubeconfig=str(config)), patient=True)


def test_a_plugin_that_fails_is_tried_at_each_request(tmp_path):
    """The start is not held up; requests fail with the plugin's own words until it works."""
    plugin = script(
        tmp_path, "give(token='abc') if os.path.exists(folder + '/login') else sys.exit('log in first')"
    )

    async def scene() -> None:
        async with RawServer() as server:
            api = await patiently(tmp_path, server.url, user(plugin))
            assert not (tmp_path / "runs").exists()
            for count in (1, 2):
                with pytest.raises(ApiUnreachableError, match="plugin failed: exit code 1: log in") as caught:
                    await api.request("GET", "/")
                assert (runs(tmp_path), caught.value.was_sent) == (count, False)
            (tmp_path / "login").touch()
            assert (await api.request("GET", "/")).status == 200
            assert server.requests[0].headers["authorization"] == "Bearer abc"
            await api.close()

    run(scene())


def watched(api: ApiServer) -> Awaitable[object]:
    """Follow the pods of a node."""
    return PodWatcher(api, PodDirectory(), PodReader([], []), node_name="a", start_jitter_s=0.0).run()


def listed(api: ApiServer) -> Awaitable[object]:
    """Make one request."""
    return api.request("GET", "/")


@pytest.mark.parametrize("ask", [watched, listed])
def test_a_request_that_waits_for_a_plugin_can_be_cancelled(tmp_path, ask: Callable[..., Awaitable[object]]):
    """It ends at once, and the plugin with it."""
    plugin = script(
        tmp_path,
        """
        open(folder + "/new", "w").write(str(os.getpid()))
        os.rename(folder + "/new", folder + "/pid")
        time.sleep(1000)
        """,
    )

    async def scene() -> None:
        api = await patiently(tmp_path, NOWHERE, user(plugin))
        task = asyncio.ensure_future(ask(api))
        await until((tmp_path / "pid").exists)
        task.cancel()
        async with asyncio.timeout(3):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not is_alive(int((tmp_path / "pid").read_text()))
        await api.close()

    run(scene())


def test_the_watcher_says_once_what_the_plugin_says(tmp_path, caplog):
    """However often the plugin fails, there is one line, with its reason."""
    plugin = script(tmp_path, "sys.exit('log in first')")

    async def scene() -> None:
        api = await patiently(tmp_path, NOWHERE, user(plugin))
        watcher = PodWatcher(
            api,
            PodDirectory(),
            PodReader([], []),
            node_name="a",
            start_jitter_s=0.0,
            sleep=lambda _: asyncio.sleep(0),
        )
        task = asyncio.create_task(watcher.run())
        await until(lambda: sum(watcher.errors.values()) >= 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()

    with caplog.at_level(logging.INFO):
        run(scene())
    (record,) = caplog.records
    assert "log in first" in record.getMessage()


def test_an_issuer_that_does_not_answer_is_left_to_the_first_request(tmp_path):
    """An OIDC issuer is not asked at the start."""

    async def scene() -> None:
        async with RawServer([CLOSE]) as issuer:
            config = {"idp-issuer-url": issuer.url, "client-id": "id", "refresh-token": "r"}
            section = {"auth-provider": {"name": "oidc", "config": config}}
            api = await patiently(tmp_path, NOWHERE, section)
            assert issuer.requests == []
            with pytest.raises(ApiUnreachableError, match="OIDC issuer cannot be asked") as caught:
                await api.request("GET", "/")
            assert not caught.value.was_sent
            await api.close()

    run(scene())


@pytest.mark.parametrize("is_held", [True, False])
def test_the_plugins_certificate_takes_the_place_of_the_one_at_hand(tmp_path, is_held):
    """TLS is set up at the start without the plugin's certificate; requests go out with it."""
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    tls = authority.server_context(authority.issue("server", alternative="IP:127.0.0.1"), wants_client=True)
    pair, stale = authority.issue("agent"), other.issue("agent")
    status = {"clientCertificateData": pair.chain.read_text(), "clientKeyData": pair.key.read_text()}
    plugin = script(tmp_path, f"give(**{json.dumps(status)})")
    held = {"client-certificate": str(stale.chain), "client-key": str(stale.key)} if is_held else {}
    ca = {"certificate-authority": str(authority.certificate)}

    async def scene() -> None:
        async with RawServer([answer()], tls=tls) as server:
            api = await patiently(tmp_path, server.url, user(plugin) | held, **ca)
            assert (await api.request("GET", "/")).status == 200
            await api.close()

    run(scene())


@pytest.mark.parametrize(
    ("section", "cluster", "said"),
    [
        (user(Path("/no/such/plugin")), {}, "the credential plugin plugin cannot be run: there is no such"),
        (user(Path("no-such-plugin"), env=[{"name": "PATH", "value": "/"}]), {}, "there is no such command"),
        (user(Path("/bin/true")), {"certificate-authority": "/no/ca"}, "cannot read certificate-authority"),
        (user(Path("/bin/true")), {"certificate-authority-data": "eA=="}, "CA certificate cannot be read"),
        (user(Path("/bin/true")) | {"client-key-data": "eA=="}, {}, "one is missing"),
        (
            user(Path("/bin/true")) | {"client-key-data": "eA==", "client-certificate-data": "eA=="},
            {},
            "client certificate and its key cannot be used",
        ),
        ({"tokenFile": "/no/token"}, {}, "cannot read the token file"),
        ({"auth-provider": {"name": "gcp"}}, {}, "there is no auth-provider"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said_at_once(tmp_path, section, cluster, said):
    """Patience is for what may pass: a configuration that cannot work ends the start, with a remedy."""
    with pytest.raises(UsageError, match=said) as caught:
        run(patiently(tmp_path, NOWHERE, section, **cluster))
    assert caught.value.hint

"""The fake API server beyond the recordings: what tests rely on when they set it up and look at it."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.kube.apiserver import (
    ADMIN_TOKEN,
    EVENTS,
    OBSERVE,
    FakeApiServer,
    ThreadedApiServer,
    container_id_of,
    event_policy,
    make_pod,
    make_static_pod,
    pod_policy,
)
from tests.kube.apiserver.client import LIST, Client, event, server_and_client

KEY = "example.com/victim"
EVENTS_PATH = "/apis/events.k8s.io/v1/namespaces/demo/events"
EVENT = {
    "metadata": {"name": "web-0.1"},
    "eventTime": "2026-11-22T13:00:00.000001Z",
    "reportingController": "oomtracer/agent",
    "reportingInstance": "node-a",
    "action": "Killed",
    "reason": "ProcessOOMKilled",
    "type": "Warning",
    "regarding": {"kind": "Pod", "namespace": "demo", "name": "web-0"},
}


def run(test: Callable[[FakeApiServer, Client], Awaitable[None]], **arguments: object) -> None:
    """Run a test against a server of its own."""

    async def whole() -> None:
        async with server_and_client(**arguments) as (api, client):
            await test(api, client)

    asyncio.run(whole())


# ----------------------------------------------------------------------------------------------- state


def test_a_built_pod_is_served_whole() -> None:
    """What a test asks for is where an API server shows it."""

    async def test(api: FakeApiServer, client: Client) -> None:
        ids = {"app": "ab" * 32}
        made = make_pod(
            "web-0", uid="u-1", containers=["app", "log"], init_containers=["init"], container_ids=ids
        )
        api.add_pod(made)
        (pod,) = (await client.ask("GET", LIST)).json["items"]
        assert pod["metadata"]["uid"] == "u-1"
        assert [each["name"] for each in pod["spec"]["initContainers"]] == ["init"]
        shown = {each["name"]: each["containerID"] for each in pod["status"]["containerStatuses"]}
        assert shown == {
            "app": f"containerd://{ids['app']}",
            "log": f"containerd://{container_id_of('u-1', 'log')}",
        }
        assert "terminated" in pod["status"]["initContainerStatuses"][0]["state"]
        assert pod["metadata"]["managedFields"]

    run(test)


def test_a_static_pod_is_a_mirror_with_its_own_uid() -> None:
    """The hash is in the annotations, the uid is the API object's."""
    pod = make_static_pod("etcd", config_hash="0123", node="node-a")
    assert pod["metadata"]["name"] == "etcd-node-a"
    assert pod["metadata"]["annotations"]["kubernetes.io/config.hash"] == "0123"
    assert pod["metadata"]["uid"] != "0123"
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "Node"


def test_what_a_test_holds_is_a_copy() -> None:
    """Changing what the server gave or was given changes nothing in it."""

    async def test(api: FakeApiServer, client: Client) -> None:
        given = make_pod("web-0")
        held = api.add_pod(given)
        for pod in (given, held, api.pod("demo", "web-0"), api.pods[0]):
            pod["metadata"]["labels"]["app"] = "changed"
        assert (await client.ask("GET", LIST)).json["items"][0]["metadata"]["labels"] == {"app": "web-0"}

    run(test)


def test_a_deletion_is_three_events() -> None:
    """Terminating, terminating with grace 0, gone: each with a new resourceVersion."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        async with client.watch("&resourceVersion=201") as stream:
            api.delete_pod("demo", "web-0")
            seen = [await event(stream) for _ in range(3)]
        assert [kind for kind, _ in seen] == ["MODIFIED", "MODIFIED", "DELETED"]
        assert [pod["metadata"]["deletionGracePeriodSeconds"] for _, pod in seen] == [30, 0, 0]
        assert [pod["metadata"]["resourceVersion"] for _, pod in seen] == ["202", "203", "204"]
        assert api.pods == []

    run(test)


def test_a_pod_of_a_known_name_is_not_made_twice() -> None:
    """A test that mixes up its pods is told so."""

    async def test(api: FakeApiServer, _client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        with pytest.raises(ValueError, match="exists already"):
            api.add_pod(make_pod("web-0"))
        with pytest.raises(KeyError):
            api.update_pod(make_pod("web-1"))

    run(test)


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        ("a", ["web-0", "web-1"]),
        ("!a", ["web-2"]),
        ("a=1", ["web-0"]),
        ("a!=1", ["web-1", "web-2"]),
        ("a,a!=2", ["web-0"]),
    ],
)
def test_labels_select_by_value_or_existence(selector: str, wanted: list[str]) -> None:
    """The label selectors of the client are those of the real server."""

    async def test(api: FakeApiServer, client: Client) -> None:
        for name, labels in (("web-0", {"a": "1"}), ("web-1", {"a": "2"}), ("web-2", {"b": "1"})):
            api.add_pod(make_pod(name, labels=labels))
        answer = await client.ask("GET", f"/api/v1/pods?labelSelector={selector.replace('=', '%3D')}")
        assert [pod["metadata"]["name"] for pod in answer.json["items"]] == wanted

    run(test)


def test_every_request_is_logged() -> None:
    """Method, path, query, headers, body and status are there to be looked at."""

    async def test(api: FakeApiServer, client: Client) -> None:
        await client.patch("demo/web-0?dryRun=All", {"annotations": {KEY: "yes"}})
        (request,) = api.requests
        assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/demo/pods/web-0")
        assert request.query == {"dryRun": "All"}
        assert request.headers["authorization"] == f"Bearer {api.token}"
        assert request.json() == {"metadata": {"annotations": {KEY: "yes"}}}
        assert request.status == 404

    run(test)


def test_what_is_not_modelled_is_said() -> None:
    """No test passes because the fake made something up."""

    async def test(_api: FakeApiServer, client: Client) -> None:
        answer = await client.ask("DELETE", "/api/v1/namespaces/demo/pods/web-0", token=ADMIN_TOKEN)
        assert answer.status == 501
        assert (await client.ask("GET", "/apis/apps/v1/deployments")).status == 404
        assert (await client.ask("GET", "/version")).json["minor"] == "36"

    run(test)


# ---------------------------------------------------------------------------------------------- rights


def test_withdrawn_rights_are_403() -> None:
    """Without the mark role, a patch is refused and the rest goes on."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        api.grant(OBSERVE, EVENTS)
        refused = await client.patch("demo/web-0", {"annotations": {KEY: "yes"}})
        assert refused.status == 403
        assert 'cannot patch resource "pods"' in refused.json["message"]
        assert (await client.ask("GET", LIST)).status == 200
        assert (await client.ask("POST", EVENTS_PATH, EVENT)).status == 201
        core = await client.ask("POST", "/api/v1/namespaces/demo/events", EVENT)
        assert core.status == 403

    run(test)


def test_a_rotated_token_is_401() -> None:
    """The old token is unknown from then on, the new one has its rights."""

    async def test(api: FakeApiServer, client: Client) -> None:
        old = api.token
        api.rotate_token("fresh")
        assert (await client.ask("GET", LIST, token=old)).status == 401
        assert (await client.ask("GET", LIST)).status == 200

    run(test)


# ----------------------------------------------------------------------------------------- admission


@pytest.mark.parametrize(
    ("name", "metadata", "told"),
    [
        ("web-0", {"annotations": {KEY: "yes"}}, ""),
        ("web-0", {"labels": {KEY: "true"}}, ""),
        ("web-b", {"annotations": {KEY: "yes"}}, "another node"),
        ("web-0", {"annotations": {"oomtracer/fence-probe": "yes"}}, "only the configured annotation"),
        ("web-0", {"labels": {"app": "x"}}, "only the configured label"),
        ("web-0", {"annotations": {KEY: "y" * 1025}}, "at most 1024"),
        ("web-0", {"finalizers": ["example.com/x"]}, "spec, finalizers and ownerReferences"),
    ],
)
def test_the_shipped_policy_fences_the_agent(name: str, metadata: dict[str, object], told: str) -> None:
    """Own node, one annotation, one label, also in a dry run; an administrator is not bound by it."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        api.add_pod(make_pod("web-b", node="node-b"))
        api.enforce(pod_policy(KEY, KEY))
        answer = await client.patch(f"demo/{name}?dryRun=All", metadata)
        assert answer.status == (403 if told else 200)
        assert told in answer.json.get("message", "")
        assert (await client.patch(f"demo/{name}", metadata, token=ADMIN_TOKEN)).status == 200

    run(test)


@pytest.mark.parametrize("change", [{"reportingController": "kubelet"}, {"reportingInstance": "node-b"}])
def test_the_shipped_policy_keeps_events_honest(change: dict[str, str]) -> None:
    """Events are made under the agent's own name and node, or not at all."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        api.enforce(event_policy())
        refused = await client.ask("POST", EVENTS_PATH, EVENT | change)
        assert refused.status == 403
        assert "ValidatingAdmissionPolicy 'oomtracer-events'" in refused.json["message"]
        assert (await client.ask("POST", EVENTS_PATH, EVENT)).status == 201

    run(test)


# ----------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"a": "not ok"}, "a valid label must be"),
        ({"a b": "1"}, "name part"),
        ({"a": "y" * 64}, "no more than 63"),
    ],
)
def test_bad_labels_are_422(labels: dict[str, str], told: str) -> None:
    """Labels have rules for their values too, unlike annotations."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        refused = await client.patch("demo/web-0", {"labels": labels})
        assert refused.status == 422
        assert told in refused.json["message"]

    run(test)


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"regarding": {"namespace": "other"}}, 422, "does not match event.namespace"),
        ({"metadata": {"name": "Upper"}}, 422, "RFC 1123 subdomain"),
        ({"type": "Error"}, 422, "has invalid value"),
        ({"action": "a" * 129}, 422, "at most 128"),
        ({"eventTime": "2026-11-22T13:00:00.123Z"}, 400, 'cannot parse ".123Z"'),
        ({"series": {"count": 2}}, 422, "series.lastObservedTime"),
    ],
)
def test_bad_events_are_refused(change: dict[str, object], status: int, told: str) -> None:
    """More rules than the recordings show, from the same validation."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        refused = await client.ask("POST", EVENTS_PATH, EVENT | change)
        assert refused.status == status
        assert told in refused.json["message"]
        assert api.events == []

    run(test)


def test_an_event_lives_until_its_time_is_over() -> None:
    """Made once (201), a second time 409, patched 200, and after its end 404."""

    async def test(api: FakeApiServer, client: Client) -> None:
        api.add_pod(make_pod("web-0"))
        series = {"series": {"count": 2, "lastObservedTime": "2026-11-22T13:01:00.000000Z"}}
        path, kind = f"{EVENTS_PATH}/web-0.1", "application/merge-patch+json"
        assert (await client.ask("POST", EVENTS_PATH, EVENT)).status == 201
        assert (await client.ask("POST", EVENTS_PATH, EVENT)).json["reason"] == "AlreadyExists"
        assert (await client.ask("PATCH", path, series, kind=kind)).status == 200
        assert api.events[0]["series"]["count"] == 2
        api.delete_event("demo", "web-0.1")
        assert (await client.ask("PATCH", path, series, kind=kind)).status == 404

    run(test)


# -------------------------------------------------------------------------------------------- lifetime


def test_it_stops_at_once_with_open_watches() -> None:
    """Twenty open watches cost no time at the end, and nothing of the server is left."""

    async def whole() -> float:
        async with aiohttp.ClientSession() as session, AsyncExitStack() as watches:
            async with FakeApiServer() as api:
                api.add_pod(make_pod("web-0"))
                for _ in range(20):
                    stream = await watches.enter_async_context(Client(api, session).watch())
                    await event(stream)
                began = time.perf_counter()
            took_s = time.perf_counter() - began
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return took_s

    assert asyncio.run(whole()) < 0.5


def test_a_threaded_server_is_used_from_any_thread(tmp_path: Path) -> None:
    """A test without a loop sets it up, waits for it, and looks at it; its thread ends with it."""
    before = set(threading.enumerate())
    with ThreadedApiServer() as api:
        api.add_pod(make_pod("web-0"))
        config = json.loads(api.write_kubeconfig(tmp_path / "config").read_text())
        url = config["clusters"][0]["cluster"]["server"]
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}

        def read() -> None:
            urllib.request.urlopen(urllib.request.Request(url + LIST, headers=headers), timeout=5).close()

        reader = threading.Thread(target=read)
        reader.start()
        api.until(lambda: api.requests and api.requests[0].status == 200)
        reader.join()
        api.freeze()
        api.thaw()
        with pytest.raises(TimeoutError):
            api.until(lambda: len(api.requests) == 2, timeout_s=0.01)
    assert set(threading.enumerate()) <= before


def test_a_threaded_server_that_cannot_start_says_why() -> None:
    """A mistake in its arguments fails the test instead of hanging it."""
    with pytest.raises(TypeError, match="nonsense"), ThreadedApiServer(nonsense=1):
        pass


def test_tls_is_verified_with_its_own_ca(tmp_path: Path) -> None:
    """With the CA file the connection stands, without it fails; a pod's files and variables lead there."""
    with ThreadedApiServer(tls=True) as api:
        variables = api.write_service_account(tmp_path / "account")
        url = f"https://{variables['KUBERNETES_SERVICE_HOST']}:{variables['KUBERNETES_SERVICE_PORT']}/readyz"
        assert url == f"{api.url}/readyz"
        trusting = ssl.create_default_context(cafile=str(tmp_path / "account/ca.crt"))
        with urllib.request.urlopen(url, context=trusting, timeout=5) as answer:
            assert answer.read() == b"ok"
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url, timeout=5)
        assert (tmp_path / "account/token").read_text() == api.token

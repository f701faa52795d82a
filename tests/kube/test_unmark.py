from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from oomtracer.config import Cluster
from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.connection import connect
from oomtracer.unmark import (
    GIVE_UP_AFTER,
    TRIES,
    PodResult,
    UnmarkRequest,
    Wanted,
    as_json,
    as_text,
    unmark,
)
from oomtracer.unmark import run as run_command

from .apiserver import (
    ADMIN_TOKEN,
    FakeApiServer,
    Late,
    ThreadedApiServer,
    Truncated,
    make_pod,
    overloaded,
    pod_policy,
)
from .virtual_time import run_virtual
from .wire_api import wire

KEY, LABEL = "oom-tracer.alpha.kubernetes.io/evict-me", "oomtracer/victim"
ANY = UnmarkRequest(annotation=Wanted(KEY), label=Wanted(LABEL))
MARKED = {KEY: "yes"}


@asynccontextmanager
async def cluster():
    """Run a server with five pods on two nodes, four of them marked; an administrator is connected."""
    async with FakeApiServer() as server:
        for name, node, annotations, labels in (
            ("web-0", "node-a", MARKED, {}),
            ("web-1", "node-a", {KEY: "other", "keep": "me"}, {}),
            ("web-2", "node-b", MARKED, {LABEL: "true", "keep": "me"}),
            ("web-3", "node-b", {}, {LABEL: "true"}),
            ("web-4", "node-a", {"keep": "me"}, {"app": "web"}),
        ):
            server.add_pod(make_pod(name, node=node, annotations=annotations, labels=labels))
        server.add_pod(make_pod("db-0", namespace="data", annotations=MARKED))
        async with wire(server, token=ADMIN_TOKEN) as api:
            yield server, api


def run(request: UnmarkRequest = ANY, prepare=lambda _: None):
    """Unmark; returns the server after it, the result and the lines that were told."""

    async def main():
        async with cluster() as (server, api):
            prepare(server)
            lines = []
            result = await unmark(api, request, lines.append)
            return server, result, lines

    return run_virtual(main())


def marks(server) -> dict[str, set[str]]:
    """Read which marks each pod carries."""
    found = {}
    for pod in server.pods:
        metadata = pod["metadata"]
        keys = {*metadata.get("annotations", {}), *metadata.get("labels", {})} & {KEY, LABEL}
        if keys:
            found[metadata["name"]] = keys
    return found


def patches(server) -> list[str]:
    """Name the pods that were patched, in order."""
    return [request.path.rpartition("/")[2] for request in server.requests if request.method == "PATCH"]


def test_all_marks_of_the_cluster_are_removed_and_nothing_else():
    """Annotations and labels by their keys, with any value, on every node; other keys stay."""
    server, result, lines = run()
    assert marks(server) == {}
    assert server.pod("demo", "web-1")["metadata"]["annotations"] == {"keep": "me"}
    assert server.pod("demo", "web-2")["metadata"]["labels"] == {"keep": "me"}
    assert sorted(patches(server)) == ["db-0", "web-0", "web-1", "web-2", "web-3"]
    assert result.is_complete
    assert f"demo/web-2: removed annotation {KEY} and label {LABEL}" in lines
    assert as_text(result) == "pods: 5 removed\n"


def test_a_value_that_is_given_must_be_the_pods():
    """Marks of somebody else under the same key stay."""
    server, result, _ = run(UnmarkRequest(annotation=Wanted(KEY, "yes")))
    assert marks(server) == {"web-1": {KEY}, "web-2": {LABEL}, "web-3": {LABEL}}
    assert result.count(PodResult.REMOVED) == 3


@pytest.mark.parametrize(
    ("narrow", "names"),
    [
        ({"node_name": "node-b"}, ["web-2", "web-3"]),
        ({"namespace": "data"}, ["db-0"]),
        ({"node_name": "node-b", "namespace": "data"}, []),
        ({"label": None}, ["db-0", "web-0", "web-1", "web-2"]),
    ],
)
def test_it_can_be_narrowed_to_a_node_a_namespace_or_one_mark(narrow, names):
    """The server selects; nothing beyond is touched."""
    server, _, _ = run(UnmarkRequest(**{"annotation": Wanted(KEY), "label": Wanted(LABEL), **narrow}))
    assert sorted(patches(server)) == names


def test_a_dry_run_only_tells():
    """It lists and says what it would remove."""
    server, result, lines = run(UnmarkRequest(annotation=Wanted(KEY), dry_run=True))
    assert patches(server) == []
    assert len(marks(server)) == 5
    assert f"data/db-0: would remove annotation {KEY}" in lines
    assert as_text(result) == "pods: 4 would remove\n"
    assert result.is_complete


def test_without_marks_it_says_so_and_is_fine():
    """Nothing to remove is no error."""
    server, result, lines = run(UnmarkRequest(annotation=Wanted("example.com/none")))
    assert (patches(server), lines) == ([], [])
    assert result.is_complete
    assert as_text(result) == "no pod carries such a mark: nothing to remove\n"
    assert json.loads(as_json(result))["pods"] == []


def test_which_mark_must_be_said():
    """Without a key everything or nothing could be meant."""

    async def main():
        await unmark(None, UnmarkRequest(), print)

    with pytest.raises(UsageError) as caught:
        run_virtual(main())
    assert "--victim-annotation" in caught.value.hint


def test_a_large_cluster_is_read_in_pages():
    """More than five hundred pods take several requests, and no mark is missed."""

    def prepare(server):
        for number in range(1_100):
            marked = MARKED if number % 100 == 0 else {}
            server.add_pod(make_pod(f"many-{number:04}", annotations=marked))

    server, result, _ = run(UnmarkRequest(annotation=Wanted(KEY)), prepare)
    lists = [request for request in server.requests if request.method == "GET"]
    assert len(lists) == 3
    assert all(request.query["limit"] == "500" for request in lists)
    assert result.count(PodResult.REMOVED) == 4 + 11
    assert KEY not in str([pod["metadata"].get("annotations") for pod in server.pods])


def test_pods_that_go_away_meanwhile_are_fine():
    """Gone, or replaced by another of the same name, which keeps its own mark."""

    def prepare(server):
        def meanwhile(request):
            if request.method == "PATCH" and server.store.pods.get(("demo", "web-0")):
                for name in ("web-0", "web-1"):
                    server.delete_pod("demo", name, grace=0)
                server.add_pod(make_pod("web-1", annotations=MARKED))
            return False

        server.fail(500, when=meanwhile)

    server, result, lines = run(UnmarkRequest(annotation=Wanted(KEY), namespace="demo"), prepare)
    assert marks(server) == {"web-1": {KEY}, "web-2": {LABEL}, "web-3": {LABEL}, "db-0": {KEY}}
    assert result.count(PodResult.GONE) == 2
    assert result.is_complete
    assert "demo/web-1: the pod is gone" in lines


def test_passing_trouble_is_waited_out():
    """Overload, an answer that is cut off or late: tried again until it is known."""

    def prepare(server):
        server.fail(overloaded(), method="GET", times=2)
        server.fail(overloaded(), method="PATCH", times=1)
        server.fail(Truncated(10), method="PATCH", times=1, skip=1)
        server.fail(Late(3600.0), method="PATCH", times=1, skip=2)

    server, result, _ = run(ANY, prepare)
    assert marks(server) == {}
    assert result.count(PodResult.REMOVED) == 5
    assert len(patches(server)) >= 8


def test_what_cannot_be_removed_is_told_and_fails_the_whole():
    """The other pods are done all the same; the result is not complete."""

    def prepare(server):
        server.fail(503, path="/pods/web-0")
        server.enforce(pod_policy(KEY))
        server.add_token(ADMIN_TOKEN, node="node-a")

    server, result, lines = run(UnmarkRequest(annotation=Wanted(KEY), label=Wanted(LABEL)), prepare)
    assert marks(server) == {"web-0": {KEY}, "web-2": {KEY, LABEL}, "web-3": {LABEL}}
    assert not result.is_complete
    assert result.count(PodResult.FAILED) == 3
    assert any(line.startswith("demo/web-3: could not remove") and "denied request" in line for line in lines)
    assert as_text(result) == "pods: 2 removed, 3 failed\n"
    failed = [pod["name"] for pod in json.loads(as_json(result))["pods"] if pod["result"] == "failed"]
    assert sorted(failed) == ["web-0", "web-2", "web-3"]


def test_an_account_that_may_not_list_is_told_what_it_lacks():
    """The missing rule is named, with the remedy."""

    def prepare(server):
        server.grant(token=ADMIN_TOKEN)

    with pytest.raises(OomTracerError, match="cannot list") as caught:
        run(ANY, prepare)
    assert "--kubeconfig" in caught.value.hint


def test_the_agents_own_account_can_do_it_for_its_node():
    """What the mark role and the admission policy allow is enough on one node."""

    async def main():
        async with cluster() as (server, _), wire(server) as api:
            server.enforce(pod_policy(KEY))
            request = UnmarkRequest(annotation=Wanted(KEY), node_name="node-a")
            result = await unmark(api, request, lambda _: None)
            assert result.count(PodResult.REMOVED) == 3
            assert marks(server) == {"web-2": {KEY, LABEL}, "web-3": {LABEL}}

    run_virtual(main())


def test_the_command_connects_with_the_kubeconfig_that_is_given(tmp_path):
    """From a file to removed marks, in real time."""
    with ThreadedApiServer(tls=True) as server:
        server.add_pod(make_pod("web-0", annotations=MARKED))
        config = server.write_kubeconfig(tmp_path / "config", token=ADMIN_TOKEN)
        lines = []
        result = run_command(ANY, kubeconfig=str(config), context=None, out=lines.append)
        assert result.count(PodResult.REMOVED) == 1
        assert lines == [f"demo/web-0: removed annotation {KEY}"]
        assert marks(server) == {}


def test_a_cluster_that_does_not_answer_is_an_error_that_names_it(tmp_path):
    """The address and what happened, with a hint."""
    with ThreadedApiServer() as server:
        config = server.write_kubeconfig(tmp_path / "config")
        port = server.port

    async def main():
        api = await connect(Cluster(kubeconfig=str(config)))
        try:
            await unmark(api, ANY, lambda _: None)
        finally:
            await api.close()

    with pytest.raises(OomTracerError, match=f"127.0.0.1:{port}") as caught:
        run_virtual(main())
    assert "API server" in caught.value.hint


def test_a_server_that_is_away_is_not_asked_for_each_pod_anew():
    """After three pods without an answer the rest is tried once: an outage must not cost hours."""
    server, result, _ = run(prepare=lambda server: server.fail(500, method="PATCH"))
    assert result.count(PodResult.FAILED) == 5
    assert len(patches(server)) == GIVE_UP_AFTER * TRIES + (5 - GIVE_UP_AFTER)


def test_a_name_that_is_no_text_stops_nobody():
    """What cannot be a pod's name is left out, and the pods behind it are unmarked."""

    def prepare(server):
        server.add_pod(make_pod("aaa-\ud800", uid="u", node="node-a", annotations=MARKED))

    _, result, _ = run(prepare=prepare)
    assert result.is_complete
    assert result.count(PodResult.REMOVED) == 5

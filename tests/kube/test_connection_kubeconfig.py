from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomtracer.config import Cluster
from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.connection import connect
from oomtracer.kube.kubeconfig import read_kubeconfig
from oomtracer.printable import printable

from .raw_server import RawServer, connected, kubeconfig, run

SECRET = "s3cr3t-t0ken"


def write(path: Path, **sections) -> Path:
    """Write a kubeconfig; ``users={"u": {...}}`` and the like become lists."""
    lists = {
        f"{kind}s": [{"name": name, kind: entry} for name, entry in sections.pop(f"{kind}s", {}).items()]
        for kind in ("cluster", "user", "context")
    }
    if current := sections.pop("current", None):
        lists["current-context"] = current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(lists))
    return path


def test_what_a_file_names_first_counts(tmp_path):
    """Of two entries with one name, and of two current contexts, the first file's is used."""
    first = write(
        tmp_path / "1",
        contexts={"a": {"cluster": "c", "user": "u"}},
        users={"u": {"token": "first"}},
        current="a",
    )
    second = write(
        tmp_path / "2",
        clusters={"c": {"server": "https://second"}},
        users={"u": {"token": "second", "username": "x"}},
        contexts={"a": {"cluster": "none"}, "b": {"cluster": "c"}},
        current="b",
    )
    access = read_kubeconfig([first, tmp_path / "missing", second], None)
    assert (access.context, access.cluster, access.user) == (
        "a",
        {"server": "https://second"},
        {"token": "first"},
    )
    assert read_kubeconfig([first, second], "b").user == {}
    assert read_kubeconfig([second, first], None).context == "b"


def test_an_empty_current_context_does_not_count(tmp_path):
    """A file that leaves the current context empty leaves the choice to the next."""
    first = write(tmp_path / "1", clusters={"c": {}})
    second = write(tmp_path / "2", contexts={"b": {"cluster": "c"}}, current="b")
    assert read_kubeconfig([first, second], None).context == "b"


def test_files_are_looked_for_beside_the_file_that_names_them(tmp_path):
    """A user's files lie beside the user's kubeconfig, a cluster's beside the cluster's."""
    first = write(tmp_path / "a/config", users={"u": {"client-key": "k", "tokenFile": "/abs"}})
    second = write(
        tmp_path / "b/config",
        clusters={"c": {"certificate-authority": "ca"}},
        contexts={"x": {"cluster": "c", "user": "u"}},
        current="x",
    )
    access = read_kubeconfig([second, first], None)
    assert access.user == {"client-key": str(tmp_path / "a/k"), "tokenFile": "/abs"}
    assert access.cluster == {"certificate-authority": str(tmp_path / "b/ca")}
    assert access.folder == tmp_path / "a"


@pytest.mark.parametrize(
    ("context", "said", "hint"),
    [
        ("nope", "no context named 'nope'", "It has: a, b, c."),
        ("a", "no cluster named 'lost'", "It has: c."),
        ("b", "no user named 'lost'", "It has: u."),
        (None, "no current-context", "Give --context: a, b, c."),
        ("c", "no cluster named None", "It has: c."),
    ],
)
def test_what_is_not_there_is_named_with_what_is(tmp_path, context, said, hint):
    """A name that leads nowhere is an error that lists the others."""
    path = write(
        tmp_path / "config",
        clusters={"c": {}},
        users={"u": {}},
        contexts={"a": {"cluster": "lost"}, "b": {"cluster": "c", "user": "lost"}, "c": {}},
    )
    with pytest.raises(UsageError, match=said) as caught:
        read_kubeconfig([path], context)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no current-context"),
        (f"token: *{SECRET}", "is no YAML: line 1"),
        (f"users:\n- user: {{token: {SECRET}", "is no YAML: line 2"),
        (f"a: b: {SECRET}", "is no YAML: line 1"),
        (f"- {SECRET}", "should have keys and values"),
        (f"clusters: {SECRET}\ncurrent-context: x", "no context named 'x'"),
        (f"contexts: {SECRET}\ncurrent-context: x", "contexts should be a list"),
        (f"contexts: [{SECRET}]\ncurrent-context: x", "contexts should have keys and values"),
        (f"contexts: [{{name: x, context: [{SECRET}]}}]\ncurrent-context: x", "should have keys and values"),
        ("current-context: 7", "current-context in .* is no text"),
        ("a: !!python/object:os.system x", "is no YAML"),
        ("[" * 5_000, "is no YAML"),
        ("\0", "is no YAML"),
    ],
)
def test_broken_files_are_named_but_not_shown(tmp_path, content, said):
    """What is wrong is told with the file and the line, never with what stands there."""
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_kubeconfig([path], None)
    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path):
    """A missing file, a folder, and bytes that are no text are told with the file's name."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\xd8")
    for name, said in (("none", "No such file"), (".", "Is a directory"), ("bytes", "is no YAML")):
        with pytest.raises(UsageError, match=said):
            read_kubeconfig([tmp_path / name], None)


@given(
    content=st.text() | st.from_regex(r"(contexts|users|clusters|current-context): [\[\]{}a-z:, \n-]{0,40}")
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_text_is_read_or_refused(tmp_path, content):
    """No file leads to anything but a context or a UsageError with a hint, both printable."""
    path = tmp_path / "config"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(UsageError) as caught:
        read_kubeconfig([path], "x\x1b")
    assert printable(str(caught.value)) == str(caught.value)
    assert caught.value.hint


def authorization_of(user: dict) -> str | None:
    """What a user's section leads to on the wire."""

    async def scene() -> RawServer:
        async with RawServer() as server, connected(server.url, user=user) as api:
            await api.request("GET", "/")
        return server

    return run(scene()).requests[0].headers.get("authorization")


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({}, None),
        ({"token": SECRET}, f"Bearer {SECRET}"),
        ({"token": f" {SECRET}\n"}, f"Bearer {SECRET}"),
        ({"username": "me", "password": "pass"}, "Basic bWU6cGFzcw=="),
        ({"token": SECRET, "username": "me", "password": "pass"}, f"Bearer {SECRET}"),
        ({"token": SECRET, "exec": {"command": "false"}}, f"Bearer {SECRET}"),
    ],
)
def test_who_one_is(user, authorization):
    """The first of kubectl's ways to log in that a user's section has is used."""
    assert authorization_of(user) == authorization


def test_a_token_file_beats_a_token(tmp_path):
    """Of both, the file is what is kept fresh."""
    (tmp_path / "token").write_text("from-file\n")
    assert authorization_of({"token": SECRET, "tokenFile": str(tmp_path / "token")}) == "Bearer from-file"


def test_a_context_without_a_user_is_anonymous(tmp_path):
    """No user means no credentials, not an error."""
    path = write(
        tmp_path / "config",
        clusters={"c": {"server": "https://127.0.0.1:1"}},
        contexts={"x": {"cluster": "c"}},
        current="x",
    )

    async def scene() -> None:
        api = await connect(Cluster(kubeconfig=str(path)))
        await api.close()

    run(scene())


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"as": "somebody"}, {}, "impersonation is not supported"),
        ({"as-groups": ["system:masters"]}, {}, "impersonation is not supported"),
        ({"token": 7}, {}, "token is no text"),
        ({"token": f"{SECRET} \x00"}, {}, "the kubeconfig's token holds something else than a token"),
        ({"token": f"{SECRET}\nHost: x"}, {}, "the kubeconfig's token holds something else than a token"),
        ({"auth-provider": {"name": "gcp"}}, {}, "no auth-provider 'gcp'"),
        ({"auth-provider": [SECRET]}, {}, "no auth-provider None"),
        ({"tokenFile": "/no/such"}, {}, "cannot read the token file /no/such: No such file"),
        ({}, {"server": ""}, "has no server"),
        ({}, {"server": "10.0.0.1:6443"}, "server is no address"),
        ({}, {"server": "https://"}, "server is no address"),
        ({}, {"server": "https://host:port"}, "server is no address"),
        ({}, {"server": "ftp://host"}, "server is no address"),
        ({}, {"server": f"https://host/?x={SECRET}"}, "server is no address"),
        ({}, {"proxy-url": f"socks5://x:{SECRET}@host:1080"}, "proxy-url is no address"),
        ({}, {"insecure-skip-tls-verify": "false"}, "neither true nor false"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(user, cluster, said):
    """A section that this client cannot honour is an error with a remedy, which shows no secret."""

    async def scene() -> None:
        async with connected("https://127.0.0.1:1", user=user, cluster=cluster):
            pass

    with pytest.raises(UsageError, match=said) as caught:
        run(scene())
    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert caught.value.hint


def test_the_context_that_was_asked_for(tmp_path):
    """--context chooses another context than the current one."""

    async def scene() -> RawServer:
        async with RawServer() as server:
            path = write(
                tmp_path / "config",
                clusters={"c": {"server": server.url}, "d": {"server": "https://127.0.0.1:1"}},
                users={"u": {"token": SECRET}},
                contexts={"x": {"cluster": "c", "user": "u"}, "y": {"cluster": "d"}},
                current="y",
            )
            api = await connect(Cluster(kubeconfig=str(path), context="x"))
            await api.request("GET", "/")
            await api.close()
        return server

    assert run(scene()).requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_no_configuration_is_an_error_here(tmp_path):
    """Who connects without any configuration is told which flags there are."""
    with pytest.raises(UsageError, match="no cluster configuration") as caught:
        run(connect(Cluster(), environ={}, service_account=tmp_path))
    assert "--kubeconfig" in caught.value.hint


def test_without_the_client_the_error_says_so(monkeypatch, tmp_path):
    """An installation without kubernetes-asyncio is no traceback."""

    def missing() -> None:
        raise ModuleNotFoundError("No module named 'kubernetes_asyncio'")

    monkeypatch.setattr("oomtracer.kube.connection.kubernetes_client", missing)
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1")
    with pytest.raises(OomTracerError, match="kubernetes-asyncio cannot be used") as caught:
        run(connect(Cluster(kubeconfig=str(path))))
    assert caught.value.hint


def test_an_account_without_a_home(tmp_path):
    """The client wants a home directory when it is loaded; without one that is told, not a traceback."""
    config = kubeconfig(tmp_path / "config", "https://127.0.0.1:1")
    code = f"""
import asyncio, pathlib
from oomtracer.config import Cluster
from oomtracer.errors import UsageError
from oomtracer.kube.connection import connect

def homeless():
    raise RuntimeError("Could not determine home directory.")

pathlib.Path.home = homeless
try:
    asyncio.run(connect(Cluster(kubeconfig={str(config)!r})))
except UsageError as error:
    print(error, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "kubeconfig: Could not determine home directory. Correct the file, or set HOME.\n"

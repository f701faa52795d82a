from __future__ import annotations

import asyncio
import json
import sys
import textwrap
import time
from pathlib import Path

import pytest

from oomtracer.config import Cluster
from oomtracer.errors import OomTracerError
from oomtracer.kube import exec_plugin
from oomtracer.kube.command import run_command
from oomtracer.kube.connection import connect
from oomtracer.kube.exec_plugin import credential_of, plugin_of
from oomtracer.kube.kubeconfig import Access
from oomtracer.printable import printable

from .certificates import Authority
from .raw_server import DEADLINE_S, HOST, RawServer, answer, connected, kubeconfig, run

VERSION = "client.authentication.k8s.io/v1"
SECRET = "eyJhbGciOiJub25lIn0.c2VjcmV0LXRva2Vu.signature"
UNAUTHORIZED = answer(401, b"no")


def script(folder: Path, code: str) -> Path:
    """Write a plugin in Python; ``give(**status)`` prints an ExecCredential, ``folder`` is where it lives."""
    path = folder / "plugin"
    head = f"""\
        #!{sys.executable}
        import json, os, sys, time, subprocess
        folder = {str(folder)!r}
        asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
        def give(**status):
            print(json.dumps({{"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": status}}))
        with open(folder + "/runs", "a") as runs:
            runs.write("x")
    """
    path.write_text(textwrap.dedent(head) + textwrap.dedent(code))
    path.chmod(0o755)
    return path


def runs(folder: Path) -> int:
    """How often the plugin has run."""
    return len((folder / "runs").read_text())


def user(plugin: Path, **more) -> dict:
    """The section of a user with this plugin."""
    return {"exec": {"apiVersion": VERSION, "command": str(plugin), **more}}


def access(section: dict, folder: Path = Path("/"), **cluster) -> Access:
    """A context whose user has this section."""
    return Access(context="x", cluster=cluster, user={"exec": section}, folder=folder)


def obtained(plugin: Path, **more):
    """Run a plugin once."""
    return run(credential_of(plugin_of(access({"apiVersion": VERSION, "command": str(plugin), **more}))))


def test_a_plugins_token_is_used_and_asked_for_once(tmp_path):
    """All requests carry the token of one run."""
    plugin = script(tmp_path, "give(token='abc')")

    async def scene() -> RawServer:
        async with RawServer() as server, connected(server.url, user=user(plugin)) as api:
            for _ in range(3):
                await api.request("GET", "/")
        return server

    assert {request.headers["authorization"] for request in run(scene()).requests} == {"Bearer abc"}
    assert runs(tmp_path) == 1


def test_a_refused_token_makes_the_plugin_run_again(tmp_path):
    """After a 401 there is a new token, and the request is tried once more with it."""
    plugin = script(tmp_path, "give(token='token-%d' % os.path.getsize(folder + '/runs'))")

    async def scene() -> RawServer:
        async with (
            RawServer([answer(), UNAUTHORIZED, answer()]) as server,
            connected(server.url, user=user(plugin)) as api,
        ):
            assert (await api.request("GET", "/")).status == 200
            assert (await api.request("GET", "/")).status == 200
        return server

    tokens = [request.headers["authorization"] for request in run(scene()).requests]
    assert tokens == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_an_expired_token_makes_the_plugin_run_again(tmp_path):
    """Shortly before the expirationTimestamp there is a new one; without one, a token is good until refused."""
    soon = script(tmp_path, "give(token='abc', expirationTimestamp='2026-01-01T00:10:00Z')")
    plugin = plugin_of(access({"apiVersion": VERSION, "command": str(soon)}))
    now_s = 1_767_225_600.0  # 2026-01-01T00:00:00Z
    credential = run(credential_of(plugin, wall_clock=lambda: now_s))
    assert 570 <= credential.good_for_s < 600
    assert obtained(script(tmp_path, "give(token='abc')")).good_for_s == float("inf")


@pytest.mark.parametrize(
    "date",
    ["2030-01-01T00:00:00Z", "2030-01-01T00:00:00.123456789Z", "2030-01-01T02:00:00+02:00", "2030-01-01"],
)
def test_dates_of_expiry(tmp_path, date):
    """Every form of RFC 3339 is read."""
    credential = obtained(script(tmp_path, f"give(token='abc', expirationTimestamp={date!r})"))
    assert credential.good_for_s == pytest.approx(1_893_456_000 - time.time(), abs=60)


def test_a_plugins_certificate_is_shown_and_replaced(tmp_path):
    """A certificate from a plugin authenticates the connection; a new one means new connections."""
    authority = Authority(tmp_path / "ca")
    pairs = [authority.issue(f"client-{number}") for number in (1, 2)]
    for number, pair in enumerate(pairs, start=1):
        (tmp_path / f"{number}.crt").write_bytes(pair.chain.read_bytes())
        (tmp_path / f"{number}.key").write_bytes(pair.key.read_bytes())
    plugin = script(
        tmp_path,
        """
        name = folder + "/%d" % os.path.getsize(folder + "/runs")
        give(clientCertificateData=open(name + ".crt").read(), clientKeyData=open(name + ".key").read())
        """,
    )
    context = authority.server_context(authority.issue("server", alternative=f"IP:{HOST}"), wants_client=True)

    async def scene() -> RawServer:
        cluster = {"certificate-authority": str(authority.certificate)}
        async with (
            RawServer([answer(), UNAUTHORIZED, answer(200, b"again")], tls=context) as server,
            connected(server.url, user=user(plugin), cluster=cluster) as api,
        ):
            await api.request("GET", "/")
            assert (await api.request("GET", "/")).body == b"again"
        return server

    assert [request.connection for request in run(scene()).requests] == [0, 0, 1]


def test_a_stream_outlives_a_change_of_certificates(tmp_path):
    """A watch that is open when the certificate changes is read on; its connection is closed after it."""
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("client")
    plugin = script(
        tmp_path,
        f"""
        name = {str(pair.chain)!r}
        give(clientCertificateData=open(name).read() + "\\n" * os.path.getsize(folder + "/runs"),
             clientKeyData=open({str(pair.key)!r}).read())
        """,
    )
    context = authority.server_context(authority.issue("server", alternative=f"IP:{HOST}"), wants_client=True)

    async def scene() -> None:
        cluster = {"certificate-authority": str(authority.certificate)}
        async with (
            RawServer([answer(200, b"x" * 1_000_000), UNAUTHORIZED, answer()], tls=context) as server,
            connected(server.url, user=user(plugin), cluster=cluster) as api,
        ):
            async with api.stream("/", query={}, read_timeout_s=5) as stream:
                assert (await api.request("GET", "/")).status == 200
                assert sum([len(chunk) async for chunk in stream.chunks()]) == 1_000_000
            assert server.connections == 3
            await server.until(lambda: server.open_connections == 1)

    run(scene())


def test_what_a_plugin_is_given(tmp_path):
    """Arguments and environment are the kubeconfig's; there is no terminal; relative paths start at the file."""
    plugin = script(
        tmp_path,
        """
        seen = {"args": sys.argv[1:], "env": os.environ["EXTRA"], "asked": asked, "stdin": sys.stdin.read()}
        open(folder + "/seen", "w").write(json.dumps(seen))
        give(token="abc")
        """,
    )
    section = {
        "apiVersion": VERSION,
        "command": "./plugin",
        "args": ["--flag", "value"],
        "env": [{"name": "EXTRA", "value": "more"}],
        "provideClusterInfo": True,
        "interactiveMode": "IfAvailable",
    }
    whole = access(section, tmp_path, server="https://cluster", **{"certificate-authority": "/ca"})
    run(credential_of(plugin_of(whole)))
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["args"], seen["env"], seen["stdin"]) == (["--flag", "value"], "more", "")
    assert seen["asked"] == {
        "apiVersion": VERSION,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://cluster"}},
    }
    assert plugin.exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.exit(3)", "failed: exit code 3"),
        ("sys.exit('first\\nlogin has expired\\n\\n')", "failed: exit code 1: login has expired"),
        ("sys.stderr.write('\\x1b[2Jboo\\u202e'); sys.exit(1)", r"exit code 1: \x1b[2Jboo\u202e"),
        (f"sys.exit('cannot use {SECRET}')", "exit code 1: cannot use ***"),
        ("sys.exit('wrong password=hunter2 for ann')", "exit code 1: wrong password *** for ann"),
        ("sys.exit('c2VjcmV0/c2VjcmV0/c2VjcmV0 refused')", "exit code 1: *** refused"),
        ("os.kill(os.getpid(), 9)", "failed: exit code -9"),
        (f"print({SECRET!r})", "printed no ExecCredential"),
        ("print('{}')", "printed no ExecCredential"),
        ("give()", "printed neither a token nor a certificate"),
        ("asked['apiVersion'] += 'beta1'; give(token='x')", "printed another version than"),
        (f"give(clientCertificateData={SECRET!r})", "printed a certificate without its key"),
        (f"give(token='{SECRET}\\nHost: x')", "holds something else than a token"),
        (f"give(token='x', expirationTimestamp={SECRET!r})", "an expirationTimestamp that is no date"),
        ("print('x' * 3_000_000)", "printed no ExecCredential"),
    ],
)
def test_what_a_plugin_does_wrong(tmp_path, caplog, code, said):
    """Each failure is one printable line with a remedy, and neither it nor the log shows a credential."""
    with pytest.raises(OomTracerError) as caught:
        obtained(script(tmp_path, code))
    assert said in str(caught.value)
    assert str(caught.value).startswith("the token of the credential plugin plugin") or (
        "the credential plugin plugin" in str(caught.value)
    )
    assert printable(str(caught.value)) == str(caught.value)
    assert caught.value.hint
    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (7, "exec should have keys and values"),
        ({}, "apiVersion is none of"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "apiVersion is none of"),
        ({"apiVersion": VERSION}, "exec has no command"),
        ({"apiVersion": VERSION, "command": "x", "args": [1]}, "args should be a list of texts"),
        ({"apiVersion": VERSION, "command": "x", "args": "a"}, "args should be a list of texts"),
        ({"apiVersion": VERSION, "command": "x", "env": {"A": "b"}}, "env should be a list"),
        ({"apiVersion": VERSION, "command": "x", "env": ["A=b"]}, "env should be a list"),
        ({"apiVersion": VERSION, "command": "x", "interactiveMode": "Always"}, "needs a terminal"),
    ],
)
def test_broken_sections(section, said):
    """A section that cannot work is an error before anything runs."""
    with pytest.raises(OomTracerError, match=said) as caught:
        plugin_of(access(section))
    assert caught.value.hint


def test_a_plugin_that_is_not_installed(tmp_path):
    """The kubeconfig's own words say how to install it, made fit for a terminal."""
    with pytest.raises(OomTracerError, match="gke-plugin cannot be run: No such file") as caught:
        obtained(tmp_path / "gke-plugin", installHint="Install\n\x1b it.")
    assert caught.value.hint == r"Install\x0a\x1b it."
    with pytest.raises(OomTracerError, match="cannot be run: its arguments are no text"):
        obtained(tmp_path / "plugin", args=["a\0b"])


def test_a_plugin_that_fails_when_connecting(tmp_path):
    """To connect is an error then: there are no credentials at all."""
    config = kubeconfig(
        tmp_path / "config", "https://127.0.0.1:1", user=user(script(tmp_path, "sys.exit(1)"))
    )
    with pytest.raises(OomTracerError, match="the credential plugin plugin failed"):
        run(connect(Cluster(kubeconfig=str(config))))


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_plugin_that_hangs(tmp_path, monkeypatch):
    """A plugin has its time, and no more."""
    monkeypatch.setattr(exec_plugin, "PLUGIN_S", 0.1)
    with pytest.raises(OomTracerError, match=r"the credential plugin plugin failed: no end in 0\.1 s"):
        obtained(script(tmp_path, "time.sleep(1000)"))


def test_a_command_that_is_given_up_is_killed_with_what_it_started(tmp_path):
    """Nothing of it is left, not even a child that holds its output open."""
    plugin = script(
        tmp_path,
        """
        child = subprocess.Popen(["sleep", "1000"])
        open(folder + "/new", "w").write(f"{os.getpid()} {child.pid}")
        os.rename(folder + "/new", folder + "/pids")
        time.sleep(1000)
        """,
    )
    pids = tmp_path / "pids"

    async def scene() -> None:
        environment = {"KUBERNETES_EXEC_INFO": "{}"}
        task = asyncio.create_task(run_command((str(plugin),), environment=environment, timeout_s=1000))
        await until(pids.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))

    run(scene())


async def until(condition) -> None:
    """Wait until it is so. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - processes set no event
            await asyncio.sleep(0.01)


def test_much_output_on_both_sides_does_not_block(tmp_path):
    """A plugin that writes megabytes of complaints before its answer is read to the end."""
    code = "sys.stderr.write('x' * 4_000_000); sys.stderr.flush(); give(token='abc')"
    assert obtained(script(tmp_path, code)).authorization == "Bearer abc"


def test_a_commands_output_is_bounded():
    """What is kept of a command's output is limited; the command is not."""
    command = (sys.executable, "-c", "print('x' * 5_000_000)")
    done = run(run_command(command, environment={}, timeout_s=30))
    assert (done.code, len(done.output), done.errors) == (0, 1 << 20, b"")

"""The watcher over real sockets and the real transport, against the fake API server and all its faults."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oomtracer.config.cluster import Cluster
from oomtracer.kube.connection import connect
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.records import PodReader
from oomtracer.kube.watch import PodWatcher

from .apiserver import (
    MARK,
    OBSERVE,
    Answer,
    Drip,
    FakeApiServer,
    Hang,
    Refused,
    Stream,
    Truncated,
    etcd_timeout,
    make_pod,
    make_static_pod,
    overloaded,
    shutting_down,
    storage_initializing,
)
from .apiserver.watch import End
from .virtual_time import now, run_virtual


class Scene:
    """The server, and a watcher that runs."""

    def __init__(self, api: FakeApiServer, watcher: PodWatcher, directory: PodDirectory) -> None:
        self.api = api
        self.watcher = watcher
        self.directory = directory

    @property
    def names(self) -> set[str]:
        """The live pods."""
        return {pod.name for pod in self.directory.pods()}

    @property
    def counted(self) -> dict[str, int]:
        """The errors that were counted."""
        return {str(kind): count for kind, count in self.watcher.errors.items() if count}

    async def until(self, condition: Callable[[], Any], *, for_s: float = 900.0) -> None:
        """Wait in virtual time."""
        end_s = now() + for_s
        while not condition():
            assert now() < end_s, (self.names, self.counted)
            await asyncio.sleep(2.0)

    async def knows(self, *names: str) -> None:
        """Wait until the directory holds these pods and no others."""
        await self.until(lambda: self.names == set(names))

    async def watches(self) -> None:
        """Wait until a watch is open."""
        await self.until(lambda: self.api.watches)


@asynccontextmanager
async def watching(tmp_path: Path, *pods: Any, tls: bool = False) -> AsyncIterator[Scene]:
    """A server with these pods, and a watcher that has not begun yet."""
    async with FakeApiServer(tls=tls) as api:
        for pod in pods:
            api.add_pod(pod)
        connection = await connect(Cluster(kubeconfig=str(api.write_kubeconfig(tmp_path / "config"))))
        clock = asyncio.get_running_loop().time
        directory = PodDirectory(clock=clock)
        watcher = PodWatcher(
            connection,
            directory,
            PodReader(["example.com/victim"], []),
            node_name="node-a",
            start_jitter_s=0.0,
            clock=clock,
            random=random.Random(7).random,
        )
        task = asyncio.create_task(watcher.run())
        try:
            yield Scene(api, watcher, directory)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await connection.close()


def play(tmp_path: Path, act: Callable[[Scene], Any], *pods: Any, tls: bool = False) -> None:
    """Let ``act`` happen in virtual time; nothing may be left over."""

    async def run() -> None:
        async with watching(tmp_path, *(pods or (make_pod("web-0"),)), tls=tls) as scene:
            await act(scene)
        gc.collect()  # what is not closed warns here, and warnings are errors

    run_virtual(run())


@pytest.mark.parametrize("tls", [False, True])
def test_the_life_of_pods_as_the_wire_tells_it(tmp_path, tls):
    """Listed, added, annotated, terminating, deleted; pods of other nodes are never heard of."""

    async def act(scene: Scene) -> None:
        api = scene.api
        await scene.knows("web-0", "etcd-node-a")
        await scene.watches()
        api.add_pod(make_pod("elsewhere", node="node-b"))
        api.add_pod(make_pod("web-1", container_ids={"app": "ab" * 32}))
        await scene.knows("web-0", "web-1", "etcd-node-a")
        identity = scene.directory.find(None, "ab" * 32)
        assert identity is not None
        assert (identity.pod.name, identity.container) == ("web-1", "app")
        static = scene.directory.find("0123456789abcdef0123456789abcdef", None)
        assert static is not None
        assert static.pod.is_mirror
        api.change_pod(
            "demo", "web-0", lambda pod: pod["metadata"].update(annotations={"example.com/victim": "yes"})
        )
        uid = identity.pod.uid
        api.terminate_pod("demo", "web-1")
        await scene.until(lambda: scene.directory.pod(uid).is_terminating)
        api.delete_pod("demo", "web-1")
        await scene.knows("web-0", "etcd-node-a")
        assert scene.directory.is_gone(uid)
        assert [dict(pod.annotations) for pod in scene.directory.pods() if pod.name == "web-0"] == [
            {"example.com/victim": "yes"}
        ]
        assert (scene.counted, scene.watcher.missed) == ({}, 0)

    play(
        tmp_path,
        act,
        make_pod("web-0"),
        make_static_pod("etcd", config_hash="0123456789abcdef0123456789abcdef"),
        tls=tls,
    )


def test_hours_without_trouble(tmp_path):
    """Hours of bookmarks, clean ends and lists are no error, and few requests."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        await asyncio.sleep(3 * 3600)
        assert (scene.counted, scene.watcher.missed, scene.watcher.restores) == ({}, 0, 0)
        assert 6 <= scene.watcher.requests["list"] <= 24
        assert scene.watcher.requests["watch"] < 150
        assert scene.watcher.current_for_s() == pytest.approx(3 * 3600, abs=10)

    play(tmp_path, act)


@pytest.mark.parametrize("end", End)
def test_a_watch_that_ends_is_resumed(tmp_path, end):
    """After a clean end, a FIN and a reset the changes of meanwhile are told, without a new list."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        await asyncio.sleep(30)
        scene.api.end_watches(end)
        scene.api.add_pod(make_pod("web-1"))
        await scene.knows("web-0", "web-1")
        assert scene.watcher.requests["list"] == 1

    play(tmp_path, act)


@pytest.mark.parametrize("end", End)
def test_a_restarted_server_is_listed_anew(tmp_path, end):
    """After a restart older versions are expired: one new list, and the watch goes on."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        await asyncio.sleep(30)
        scene.api.restart(end)
        await asyncio.sleep(5)
        scene.api.delete_pod("demo", "web-0")
        scene.api.add_pod(make_pod("web-1"))
        await scene.knows("web-1")
        await scene.watches()
        assert scene.watcher.requests["list"] == 2
        assert scene.counted["expired"] == 1

    play(tmp_path, act)


def test_a_frozen_server_is_left_and_found_again(tmp_path):
    """Silence on an open watch, then handshakes that hang, then life: the directory is right again."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        await asyncio.sleep(30)
        scene.api.freeze()
        await asyncio.sleep(600)
        assert scene.watcher.current_for_s() is None
        await scene.api.thaw()
        scene.api.add_pod(make_pod("web-1"))
        await scene.knows("web-0", "web-1")

    play(tmp_path, act)


def test_a_server_that_is_away_is_waited_for(tmp_path):
    """A closed port for ten minutes: fewer than 20 tries a minute, and everything is known soon after."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        scene.api.refuse()
        scene.api.drop_connections(End.RESET)
        await asyncio.sleep(600)
        assert scene.counted["unreachable"] >= 10
        scene.api.add_pod(make_pod("web-1"))
        await scene.api.reopen()
        await scene.until(lambda: scene.names == {"web-0", "web-1"}, for_s=61)

    play(tmp_path, act)


def test_an_agent_before_its_server(tmp_path):
    """A start without API server ends in a directory as soon as there is one."""

    async def act(scene: Scene) -> None:
        scene.api.refuse()
        scene.api.drop_connections(End.RESET)
        await asyncio.sleep(300)
        assert not scene.directory.is_synced
        await scene.api.reopen()
        await scene.knows("web-0")

    play(tmp_path, act)


def test_a_restored_backup_is_noticed(tmp_path):
    """Versions that went back hide nothing for longer than some minutes."""

    async def act(scene: Scene) -> None:
        for number in range(8):
            scene.api.change_pod(
                "demo", "web-0", lambda pod, n=number: pod["metadata"].update(labels={"n": f"{n}"})
            )
        await scene.watches()
        scene.api.change_pod("demo", "web-0", lambda pod: pod["metadata"].update(labels={"n": "last"}))
        await asyncio.sleep(400)
        scene.api.rewind(5)
        scene.api.add_pod(make_pod("web-1"))
        await scene.until(lambda: scene.names == {"web-0", "web-1"}, for_s=700)
        assert scene.watcher.restores == 1

    play(tmp_path, act)


def test_a_right_that_is_taken_and_given_back(tmp_path, caplog):
    """Without the rule it is said once what is missing; with it all is well without a restart."""

    async def act(scene: Scene) -> None:
        scene.api.grant(MARK)
        await asyncio.sleep(300)
        assert scene.names == set()
        scene.api.grant(OBSERVE, MARK)
        await scene.knows("web-0")

    play(tmp_path, act)
    assert caplog.text.count('{apiGroups: [""], resources: [pods], verbs: [list, watch]}') == 1


def test_a_token_that_is_not_taken_any_more(tmp_path):
    """A 401 is tried again with whatever the configuration then says."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        scene.api.rotate_token("the-next")
        scene.api.end_watches(End.CUT)
        await asyncio.sleep(120)
        assert scene.counted["unauthorized"] >= 2
        scene.api.write_kubeconfig(tmp_path / "config")
        scene.api.rotate_token("agent-token")
        scene.api.add_pod(make_pod("web-1"))
        await scene.knows("web-0", "web-1")

    play(tmp_path, act)


FAULTS = {
    "overload": overloaded(),
    "shutdown": shutting_down(),
    "initialising": storage_initializing(),
    "etcd": etcd_timeout(),
    "500": Answer(500, "Internal error\n"),
    "HTML": Answer(200, "<html>Log in</html>"),
    "empty": Answer(200, ""),
    "redirect": Answer(302, "", {"Location": "https://login.example/"}),
    "hang": Hang(),
    "reset": Refused(),
    "half": Truncated(40),
    "half, FIN": Truncated(40, End.CUT),
    "slow": Drip(10, 7.0),
    "garbage": Stream([b"\x00\xff\n" * 100]),
    "garbage, open": Stream([b'{"type":"ADDED"}\n'], end=None),
    "long line": Stream([b"x" * (1 << 20)] * 17, end=None),
}


@pytest.mark.parametrize("watch", [False, True], ids=["list", "watch"])
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_of_the_wire_passes(tmp_path, name, watch):
    """Five minutes of a fault of lists or watches are counted, are few requests, and leave no trace after."""

    async def act(scene: Scene) -> None:
        scene.api.fail(FAULTS[name], watch=watch)
        for number in range(6):
            await asyncio.sleep(50)
            scene.api.change_pod(
                "demo", "web-0", lambda pod, n=number: pod["metadata"].update(labels={"n": f"{n}"})
            )
        assert scene.counted or (name == "slow" and watch)
        assert len(scene.api.requests) < 50
        scene.api.heal()
        scene.api.end_watches(End.CUT)
        scene.api.add_pod(make_pod("web-1"))
        await scene.knows("web-0", "web-1")
        await scene.until(lambda: scene.watcher.current_for_s() is not None)

    play(tmp_path, act)


def test_a_large_node(tmp_path):
    """Three hundred pods come gzipped and in many chunks, and are all there."""
    pods = [make_pod(f"web-{number}", containers=["app", "proxy"]) for number in range(300)]

    async def act(scene: Scene) -> None:
        await scene.until(lambda: len(scene.names) == 300)
        assert scene.counted == {}

    play(tmp_path, act, *pods)


def test_a_pod_of_many_megabytes(tmp_path):
    """A line of the watch far above what a line reader would take is an event like any other."""

    async def act(scene: Scene) -> None:
        await scene.watches()
        large = make_pod("web-1")
        large["metadata"]["managedFields"] = [{"manager": "x" * 1_000_000}] * 9
        scene.api.add_pod(large)
        await scene.knows("web-0", "web-1")
        assert scene.counted == {}

    play(tmp_path, act)

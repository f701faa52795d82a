"""The overlay that cleans the nodes: its programs, run on directories and processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from oomtracer.kernel.directory_lock import DirectoryLock
from tests.deploy.render import DEPLOY, agent, environment, kustomization, overlay, pod_spec

SPEC = pod_spec(overlay("remove").one("DaemonSet"))


def command(container: dict[str, list[str]], *arguments: str) -> list[str]:
    """Its command with other arguments, run by this Python."""
    assert container["command"] == ["python3", "-I", "-c"]
    return [sys.executable, "-I", "-c", container["args"][0], *arguments]


def init(name: str) -> dict[str, Any]:
    """An init container."""
    [container] = [each for each in SPEC["initContainers"] if each["name"] == name]
    return dict(container)


def run(container: dict[str, list[str]], directory: Path) -> subprocess.CompletedProcess[str]:
    """The cleaner, given another directory."""
    return subprocess.run(
        command(container, str(directory)), capture_output=True, text=True, check=False, timeout=60
    )


def test_it_empties_the_state_directory(tmp_path: Path) -> None:
    """Everything in the directory goes, links without what they point to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    state = tmp_path / "state"
    (state / "journal" / "deep").mkdir(parents=True)
    (state / "journal" / "deep" / "file").touch()
    (state / "file\n").touch()
    (state / "link").symlink_to(outside)
    (state / "journal" / "link").symlink_to(outside)
    done = run(init("remove"), state)
    assert done.returncode == 0, done.stderr
    assert list(state.iterdir()) == []
    assert (outside / "kept").exists()
    assert sorted(done.stdout.splitlines()) == sorted(
        f"removed {str(path)!a}" for path in (state / "file\n", state / "link", state / "journal")
    )


def test_it_waits_for_the_agent_to_be_gone(tmp_path: Path) -> None:
    """While an agent has the directory nothing is removed, and the container fails, to be started again."""
    (tmp_path / "journal.db").touch()
    with DirectoryLock(tmp_path):
        done = run(init("remove"), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path} is in use by process {os.getpid()}" in done.stderr
    assert (tmp_path / "journal.db").exists()


def test_pins_go_first() -> None:
    """What records is removed before the state, by the program's own command, which takes these arguments."""
    assert [each["name"] for each in SPEC["initContainers"]] == ["unpin", "remove"]
    container = init("unpin")
    assert container["command"] == ["oomtracer", "unpin"]
    done = subprocess.run(
        [sys.executable, "-m", "oomtracer", "unpin", *container["args"][:-1], "/nonexistent/pins"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "nothing is pinned in /nonexistent/pins\n"


def test_it_cleans_what_the_agent_has() -> None:
    """It is given the same directories of the host, at the same places, as the agent is told to use."""
    theirs = overlay("observe")
    assert SPEC["volumes"] == pod_spec(theirs.one("DaemonSet"))["volumes"]
    mounts = {
        mount["name"]: mount["mountPath"]
        for name in ("unpin", "remove")
        for mount in init(name)["volumeMounts"]
    }
    assert mounts == {mount["name"]: mount["mountPath"] for mount in agent(theirs)["volumeMounts"]}
    told = environment(theirs)
    assert init("unpin")["args"] == ["--pin-path", told["OOMTRACER_PIN_PATH"]["value"]]
    assert init("remove")["args"][1:] == [told["OOMTRACER_STATE_DIR"]["value"]]
    assert set(mounts.values()) == {init("unpin")["args"][1], init("remove")["args"][1]}


def test_without_pins_there_is_nothing_to_unpin() -> None:
    """The component for nodes without bpffs leaves the state's step alone."""
    fields = {"resources": [DEPLOY / "overlays/remove"], "components": [DEPLOY / "components/without-pins"]}
    spec = pod_spec(kustomization(fields).one("DaemonSet"))
    assert [each["name"] for each in spec["initContainers"]] == ["remove"]
    assert [each["name"] for each in spec["volumes"]] == ["state"]


def test_it_idles_until_it_is_stopped() -> None:
    """The container that stays says so and ends at SIGTERM, with success."""
    [container] = SPEC["containers"]
    with subprocess.Popen(command(container), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "this node is clean\n"
        process.terminate()
        assert process.wait(timeout=30) == 0

"""The overlay that cleans the nodes: its two programs, run on directories and processes of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.deploy.render import agent, overlay, pod_spec

SPEC = pod_spec(overlay("remove").one("DaemonSet"))


def command(container: dict[str, list[str]], *arguments: str) -> list[str]:
    """Its command with other arguments, run by this Python."""
    assert container["command"] == ["python3", "-I", "-c"]
    return [sys.executable, "-I", "-c", container["args"][0], *arguments]


def test_it_empties_the_directories(tmp_path: Path) -> None:
    """Everything in the directories goes, links without what they point to; a directory that is missing is fine."""
    [container] = SPEC["initContainers"]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    state, pins = tmp_path / "state", tmp_path / "pins"
    (state / "journal" / "deep").mkdir(parents=True)
    (state / "journal" / "deep" / "file").touch()
    (state / "file\n").touch()
    (state / "link").symlink_to(outside)
    (state / "journal" / "link").symlink_to(outside)
    pins.mkdir()
    (pins / "ring").touch()
    done = subprocess.run(
        command(container, str(pins), str(tmp_path / "missing"), str(state)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(state.iterdir()) == list(pins.iterdir()) == []
    assert (outside / "kept").exists()
    assert sorted(done.stdout.splitlines()) == sorted(
        f"removed {str(path)!a}"
        for path in (pins / "ring", state / "file\n", state / "link", state / "journal")
    )


def test_it_empties_what_the_agent_has() -> None:
    """It is given the same directories of the host, at the same places, as the agent."""
    [container] = SPEC["initContainers"]
    theirs = overlay("observe")
    assert SPEC["volumes"] == pod_spec(theirs.one("DaemonSet"))["volumes"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {mount["name"]: mount["mountPath"] for mount in agent(theirs)["volumeMounts"]}
    assert set(container["args"][1:]) == set(mounts.values())


def test_it_idles_until_it_is_stopped() -> None:
    """The container that stays says so and ends at SIGTERM, with success."""
    [container] = SPEC["containers"]
    with subprocess.Popen(command(container), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "this node is clean\n"
        process.terminate()
        assert process.wait(timeout=30) == 0

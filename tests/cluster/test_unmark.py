"""``oomtracer unmark`` takes back what ``oomtracer run`` did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cluster.kubelet import NODE, Kubelet
from tests.cluster.scene import ANNOTATION, LABEL, Node, annotations_of, patches, wait_for_mark
from tests.kernel.agent import run_oomtracer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_mark_is_removed(quiet_node: Node, kubelet: Kubelet, tmp_path: Path) -> None:
    """Annotation and label of a marked pod go, by one patch with its uid; its own are untouched."""
    api, agent = quiet_node.api, quiet_node.agent
    pod = kubelet.start(api, "unmark-0", annotations={"example.com/own": "kept"})
    agent.wait_to_know(pod)
    kubelet.kill(pod)
    wait_for_mark(api, pod)
    command = ("unmark", "--kubeconfig", str(api.write_kubeconfig(tmp_path / "kubeconfig")))
    marks = ("--victim-annotation", f"{ANNOTATION}=yes", "--victim-label", f"{LABEL}=true")
    result = run_oomtracer(*command, *marks, "--node-name", NODE, "--output", "json")
    assert (result.returncode, result.stderr) == (0, "")
    told = {each["name"]: each["result"] for each in json.loads(result.stdout)["pods"]}
    assert told[pod.name] == "removed"
    assert annotations_of(api, pod) == {"example.com/own": "kept"}
    assert LABEL not in api.pod(pod.namespace, pod.name)["metadata"]["labels"]
    assert [patch.json()["metadata"]["uid"] for patch in patches(api, pod)] == [pod.uid, pod.uid]

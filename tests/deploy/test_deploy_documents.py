"""What deploy/README.md says, and what a rehearsal uses, against what is there."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.render import (
    COMPONENTS,
    DEPLOY,
    OVERLAYS,
    ROOT,
    Rendered,
    agent,
    kustomization,
    overlay,
    pod_spec,
)

README = (DEPLOY / "README.md").read_text()
RESOURCES = ROOT / "docs/test-resources"
WORKLOADS = tuple(sorted((RESOURCES / "k8s").glob("*-workload.yaml")))
UNIT = (RESOURCES / "service/oomhog.service").read_text()
TEST_LABEL = {"oom-rehearsal": "true"}


def rows(kind: str) -> set[str]:
    """What stands first in the rows of a table: ``overlays/NAME``."""
    return set(re.findall(rf"^\| `{kind}/([^`]+)`", README, re.MULTILINE))


def test_overlays_and_components_are_told() -> None:
    """Each has its row, and the seven overlays are there."""
    assert rows("overlays") == set(OVERLAYS)
    assert rows("components") == set(COMPONENTS)
    assert set(OVERLAYS) == {
        "observe",
        "mark",
        "admission-policy",
        "minimal-caps",
        "kernel-5.10",
        "monitoring",
        "remove",
    }


def test_alerts_are_told() -> None:
    """Each alert has its row, with its severity."""
    [group] = overlay("monitoring").one("PrometheusRule")["spec"]["groups"]
    told = re.findall(r"^\| `(OomTracer\w+)` \| (\w+) \|", README, re.MULTILINE)
    assert told == [(rule["alert"], rule["labels"]["severity"]) for rule in group["rules"]]


def test_links_resolve() -> None:
    """Links of deploy/README.md lead to files of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", README)
    assert links
    assert [link for link in links if not (DEPLOY / link).exists()] == []


@pytest.mark.parametrize("document", ["deploy/README.md", "docs/TEST.md"])
def test_files_that_are_applied_exist(document: str) -> None:
    """What a command applies or copies is there."""
    text = (ROOT / document).read_text()
    named = set(re.findall(r"\b((?:deploy/overlays|docs/test-resources)/[\w./-]*\w)", text))
    assert named
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name] == []


def samples(document: str) -> list[dict[str, Any]]:
    """The kustomizations and parts of them that a document shows, with the paths of this repository."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    shown = [yaml.safe_load(block) for block in blocks]
    for sample in shown:
        for key in {"resources", "components"} & set(sample):
            sample[key] = [DEPLOY / path.partition("/deploy/")[2] for path in sample[key]]
    return shown


def whole(document: str) -> list[Rendered]:
    """The complete ones, rendered."""
    return [kustomization(sample) for sample in samples(document) if "kind" in sample]


@pytest.mark.parametrize("document", ["deploy/README.md", "docs/TEST.md"])
def test_the_sample_kustomization_renders(document: str) -> None:
    """As it stands it takes the image from the reader's registry, and makes the one namespace that it is in."""
    [objects] = whole(document)
    assert agent(objects)["image"].startswith("YOUR-REGISTRY/oomtracer:")
    inside = {
        each["metadata"]["namespace"] for each in objects if each["kind"] in ("DaemonSet", "PodMonitor")
    }
    assert inside == {objects.one("Namespace")["metadata"]["name"]}


def test_the_sample_namespace_is_of_its_own() -> None:
    """Its name is nobody else's: applying the sample labels that namespace, and deleting it removes all of it."""
    [objects] = whole("deploy/README.md")
    assert objects.one("Namespace")["metadata"]["name"].startswith("oomtracer")


@pytest.mark.parametrize("name", ["observe", "remove"])
def test_the_sample_patches_fit(name: str) -> None:
    """The patches for seccomp and for the architecture change those fields; the latter fits `remove` too."""
    seccomp, architecture = [sample for sample in samples("deploy/README.md") if "kind" not in sample]
    patches = [*architecture["patches"], *(seccomp["patches"] if name == "observe" else [])]
    [daemon_set] = kustomization({"resources": [DEPLOY / "overlays" / name], "patches": patches}).of(
        "DaemonSet"
    )
    spec = pod_spec(daemon_set)
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    profile = spec["securityContext"]["seccompProfile"]["type"]
    assert profile == ("Unconfined" if name == "observe" else "RuntimeDefault")


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a pod, or of what makes pods."""
    return list(workload_spec(workload)["containers"])


def workload_spec(workload: dict[str, Any]) -> dict[str, Any]:
    """Of a pod, or of what makes pods."""
    spec = workload["spec"]
    return dict(spec["template"]["spec"] if "template" in spec else spec)


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.stem)
def test_workloads_are_contained(path: Path) -> None:
    """Programs are valid; what has no limit and grows runs only where it is meant to, by label or by hand."""
    workload = yaml.safe_load(path.read_text())
    assert workload["metadata"]["namespace"] == "oom-rehearsal"
    for container in containers(workload):
        ast.parse(container["args"][0])
        limited = "memory" in container.get("resources", {}).get("limits", {})
        assert limited == path.stem.startswith("limited")
    if path.stem == "unlimited-workload":
        assert workload_spec(workload)["nodeSelector"] == TEST_LABEL
    if "unlimited" in path.stem:
        assert path.read_text().startswith("# FOR A TEST NODE ONLY.")


def test_static_workloads_have_no_owner() -> None:
    """Those for a node's manifest folder are plain pods, the others Deployments, which can be marked."""
    kinds = {path.stem: yaml.safe_load(path.read_text())["kind"] for path in WORKLOADS}
    assert kinds == {stem: "Pod" if "static" in stem else "Deployment" for stem in kinds}


def test_the_unit_can_be_killed_and_ends() -> None:
    """Its score is low, and not the one that makes a process unkillable; it has a limit in time."""
    assert "OOMScoreAdjust=-900\n" in UNIT
    assert "RuntimeMaxSec=5min\n" in UNIT
    assert "Restart=no\n" in UNIT


def test_the_unit_stops_at_the_first_kill(tmp_path: Path) -> None:
    """Its shell script goes on while the kernel's count stands still, and ends when it grows."""
    counter = tmp_path / "vmstat"
    counter.write_text("pgfault 7\noom_kill 5\n")
    found = re.search(r"ExecStart=/bin/sh -c '(.*?)'\n", UNIT, re.DOTALL)
    assert found
    script = found[1].replace("\\\n", "").replace("$$", "$").replace("/proc/vmstat", str(counter))
    script = script.replace("head -c 64M /dev/zero", "echo more >&2").replace("sleep 1", "sleep 0.05")
    with subprocess.Popen(["/bin/sh", "-c", script], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert [process.stderr.readline() for _ in range(3)] == ["more\n"] * 3
        assert process.poll() is None
        counter.write_text("pgfault 8\noom_kill 6\n")
        process.stderr.read()
        assert process.wait(timeout=30) == 0

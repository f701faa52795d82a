"""The DaemonSet: what it may, how it is kept alive, and what it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from oomtracer.config import parse_annotation, parse_label
from tests.deploy.render import (
    COMPONENTS,
    OVERLAYS,
    Rendered,
    agent,
    combined,
    environment,
    overlay,
    pod_spec,
)

AGENT_OVERLAYS = tuple(name for name in OVERLAYS if name != "remove")
CAPABILITIES = {"BPF", "PERFMON", "SYSLOG"}
# Where a host path may lie: directories of the agent's own.
HOST_PATHS = {"/var/lib/oomtracer", "/sys/fs/bpf/oomtracer"}
FORBIDDEN_OF_THE_HOST = ("hostPID", "hostNetwork", "hostIPC", "hostUsers", "shareProcessNamespace")


def capabilities(objects: Rendered) -> set[str]:
    """What the agent's container adds."""
    return set(agent(objects)["securityContext"]["capabilities"]["add"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_is_locked_down(name: str) -> None:
    """No container has more than root without capabilities, a read-only root and the runtime's seccomp profile."""
    for daemon_set in overlay(name).of("DaemonSet"):
        spec = pod_spec(daemon_set)
        assert not set(spec) & set(FORBIDDEN_OF_THE_HOST)
        assert spec["securityContext"] == {
            "runAsUser": 0,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            context = dict(container["securityContext"])
            assert context.pop("capabilities")["drop"] == ["ALL"]
            assert context == {
                "privileged": False,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
            }
            assert not {port.get("hostPort") for port in container.get("ports", [])} - {None}


@pytest.mark.parametrize("name", OVERLAYS)
def test_capabilities_are_the_fewest(name: str) -> None:
    """Three capabilities; one less or one more in the overlays that are there for it, none where files are removed."""
    objects = overlay(name)
    if name == "remove":
        [spec] = [pod_spec(each) for each in objects.of("DaemonSet")]
        for container in (*spec["initContainers"], *spec["containers"]):
            assert "add" not in container["securityContext"]["capabilities"]
        return
    expected = {"minimal-caps": CAPABILITIES - {"SYSLOG"}, "kernel-5.10": CAPABILITIES | {"SYS_RESOURCE"}}
    assert capabilities(objects) == expected.get(name, CAPABILITIES)


def test_capability_components_add_up() -> None:
    """Both capability components together do what each says."""
    assert capabilities(combined("minimal-caps", "kernel-5.10")) == {"BPF", "PERFMON", "SYS_RESOURCE"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_of_the_host_only_own_directories_are_mounted(name: str) -> None:
    """Host paths are the agent's own directories, never bpffs as a whole, and below /sys nothing is mounted."""
    for daemon_set in overlay(name).of("DaemonSet"):
        spec = pod_spec(daemon_set)
        assert {volume["hostPath"]["path"] for volume in spec["volumes"]} == HOST_PATHS
        assert {volume["hostPath"]["type"] for volume in spec["volumes"]} == {"DirectoryOrCreate"}
        mounts = [
            mount
            for container in (*spec.get("initContainers", []), *spec["containers"])
            for mount in container.get("volumeMounts", [])
        ]
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in spec["volumes"]}
        for mount in mounts:
            assert not PurePosixPath(mount["mountPath"]).is_relative_to("/sys")
            assert not PurePosixPath(mount["mountPath"]).is_relative_to("/proc")
            assert "mountPropagation" not in mount


def test_pins_can_be_left_out() -> None:
    """The component for nodes without bpffs takes away that volume with its mount, and nothing else."""
    before, after = overlay("observe"), combined("without-pins")
    volumes = [pod_spec(each.one("DaemonSet"))["volumes"] for each in (before, after)]
    assert [volume for volume in volumes[0] if volume["name"] != "pins"] == volumes[1]
    mounts = [agent(each)["volumeMounts"] for each in (before, after)]
    assert [mount for mount in mounts[0] if mount["name"] != "pins"] == mounts[1]
    told = [
        {name: entry.get("value", entry.get("valueFrom")) for name, entry in environment(each).items()}
        for each in (before, after)
    ]
    assert told[0] | {"OOMTRACER_PIN_PATH": ""} == told[1]


@pytest.mark.parametrize("name", AGENT_OVERLAYS)
def test_it_uses_what_is_mounted(name: str) -> None:
    """State and pins are where the directories of the host are."""
    mounts = {mount["name"]: mount["mountPath"] for mount in agent(overlay(name))["volumeMounts"]}
    told = environment(overlay(name))
    assert mounts == {
        "state": told["OOMTRACER_STATE_DIR"]["value"],
        "pins": told["OOMTRACER_PIN_PATH"]["value"],
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_match(name: str) -> None:
    """Each DaemonSet selects its own pods and no other's; the PodMonitor selects the agent and a port it has."""
    daemon_sets = [*overlay(name).of("DaemonSet"), overlay("remove").one("DaemonSet")]
    for one in daemon_sets:
        selected = [
            other["metadata"]["name"]
            for other in daemon_sets
            if one["spec"]["selector"]["matchLabels"].items()
            <= other["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert set(selected) == {one["metadata"]["name"]}
    for monitor in overlay(name).of("PodMonitor"):
        labels = overlay(name).one("DaemonSet")["spec"]["template"]["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for port in agent(overlay(name))["ports"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_node_has_one(name: str) -> None:
    """Tainted nodes too, and Linux nodes only."""
    for daemon_set in overlay(name).of("DaemonSet"):
        spec = pod_spec(daemon_set)
        assert spec["tolerations"] == [{"operator": "Exists"}]
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert "affinity" not in spec


@pytest.mark.parametrize("name", AGENT_OVERLAYS)
def test_it_is_the_last_to_go(name: str) -> None:
    """system-node-critical, which a quota for that class admits; rolled out 10 % at a time, never two on a node."""
    objects = overlay(name)
    daemon_set = objects.one("DaemonSet")
    assert pod_spec(daemon_set)["priorityClassName"] == "system-node-critical"
    quota = objects.one("ResourceQuota")["spec"]
    [scope] = quota["scopeSelector"]["matchExpressions"]
    assert (scope["scopeName"], scope["values"]) == ("PriorityClass", ["system-node-critical"])
    assert daemon_set["spec"]["updateStrategy"]["rollingUpdate"] == {
        "maxUnavailable": "10%",
        "maxSurge": 0,
    }
    resources = agent(objects)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert set(resources["limits"]) == {"memory"}


def test_probes_ask_the_right_paths() -> None:
    """Liveness and start ask whether the loop lives, readiness whether anything is traced."""
    container = agent(overlay("observe"))
    paths = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"metrics": 8080}
    assert environment(overlay("observe"))["OOMTRACER_METRICS_BIND_ADDRESS"]["value"] == ":8080"


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The program, started with these variables where it cannot find a cluster."""
    return subprocess.run(
        [sys.executable, "-m", "oomtracer", "run"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_program_takes_every_variable() -> None:
    """The program knows all variables and takes their values: it misses nothing but the cluster."""
    objects = combined(*COMPONENTS)
    data = objects.one("ConfigMap")["data"]
    variables = {
        name: entry["value"]
        if "value" in entry
        else data[entry["valueFrom"]["configMapKeyRef"]["key"]]
        if "configMapKeyRef" in entry["valueFrom"]
        else "some-name"
        for name, entry in environment(objects).items()
    }
    shown = subprocess.run(
        [sys.executable, "-m", "oomtracer", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [name for name in variables if name not in shown] == []
    done = run(variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --kubernetes=on, but there is no kubeconfig")


def test_marks_come_from_the_config_map() -> None:
    """The variables of the marks name entries that the ConfigMap has, and its values are marks that the agent takes."""
    objects = overlay("mark")
    config_map = objects.one("ConfigMap")
    sources = {
        name: entry["valueFrom"]["configMapKeyRef"]
        for name, entry in environment(objects).items()
        if "configMapKeyRef" in entry.get("valueFrom", {})
    }
    assert {name: source["key"] for name, source in sources.items()} == {
        "OOMTRACER_VICTIM_ANNOTATION": "victim-annotation",
        "OOMTRACER_VICTIM_LABEL": "victim-label",
    }
    assert {source["name"] for source in sources.values()} == {config_map["metadata"]["name"]}
    assert set(config_map["data"]) == {source["key"] for source in sources.values()}
    annotation = parse_annotation(config_map["data"]["victim-annotation"], flag="annotation")
    label = parse_label(config_map["data"]["victim-label"], flag="label")
    assert (annotation.key, annotation.value) == ("oom-tracer.alpha.kubernetes.io/evict-me", "yes")
    assert (label.key, label.value) == ("oomtracer/victim", "true")


@pytest.mark.parametrize("name", AGENT_OVERLAYS)
def test_only_marking_overlays_mark(name: str) -> None:
    """Without the component the agent is told no mark: a dry run."""
    marks = {variable for variable in environment(overlay(name)) if "VICTIM" in variable}
    assert bool(marks) == (name in {"mark", "admission-policy"})
    insists = "OOMTRACER_REQUIRE_ADMISSION_POLICY" in environment(overlay(name))
    assert insists == (name == "admission-policy")

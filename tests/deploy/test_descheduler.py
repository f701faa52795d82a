"""The descheduler's policies: they look for what the agent sets, and limit what its budget cannot."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from oomtracer.config import parse_annotation, parse_label
from tests.deploy.render import DEPLOY, overlay

MARKS = overlay("mark").one("ConfigMap", "oomtracer-mark")["data"]
POLICIES = ("policy-label", "policy-annotation")


def policy(name: str) -> dict[str, Any]:
    """One of the policies."""
    return dict(yaml.safe_load((DEPLOY / "descheduler" / f"{name}.yaml").read_text()))


def arguments(name: str, plugin: str) -> dict[str, Any]:
    """What a policy gives a plugin."""
    [profile] = policy(name)["profiles"]
    [found] = [each["args"] for each in profile["pluginConfig"] if each["name"] == plugin]
    return dict(found)


@pytest.mark.parametrize("name", POLICIES)
def test_evictions_are_limited(name: str) -> None:
    """One pod per node and round, as the agent marks one at a time, and few in the whole cluster."""
    limits = policy(name)
    assert limits["maxNoOfPodsToEvictPerNode"] == 1
    assert limits["maxNoOfPodsToEvictPerNamespace"] == 1
    assert limits["maxNoOfPodsToEvictTotal"] <= 5


@pytest.mark.parametrize("name", POLICIES)
def test_a_pod_is_evicted_only_where_it_has_a_place_to_go(name: str) -> None:
    """The evictor's protections stay as they are, and it looks for another node first."""
    assert arguments(name, "DefaultEvictor") == {"nodeFit": True}


@pytest.mark.parametrize("name", POLICIES)
def test_every_plugin_that_is_on_is_configured(name: str) -> None:
    """A profile of its own, with the one plugin that it enables."""
    [profile] = policy(name)["profiles"]
    [enabled] = profile["plugins"]["deschedule"]["enabled"]
    assert {each["name"] for each in profile["pluginConfig"]} == {enabled, "DefaultEvictor"}


def test_the_stock_descheduler_looks_for_our_label() -> None:
    """Exactly the pods with the label that the agent sets, at any age, but where the agent marks nothing."""
    label = parse_label(MARKS["victim-label"], flag="label")
    args = arguments("policy-label", "PodLifeTime")
    assert args["labelSelector"] == {"matchLabels": {label.key: label.value}}
    assert args["maxPodLifeTimeSeconds"] == 1
    assert args["namespaces"] == {"exclude": ["kube-system"]}


def test_the_fork_looks_for_our_annotation() -> None:
    """The key of the annotation that the agent sets."""
    annotation = parse_annotation(MARKS["victim-annotation"], flag="annotation")
    assert arguments("policy-annotation", "RemoveAnnotated") == {"annotationKey": annotation.key}

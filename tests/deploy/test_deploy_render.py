"""Overlays and components: each renders, alone, together, and in another namespace."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

import pytest

import oomtracer
from tests.deploy.render import COMPONENTS, DEPLOY, OVERLAYS, ROOT, Object, Rendered, combined, overlay

CLUSTER_WIDE = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def containers(objects: Rendered) -> list[Object]:
    """All containers, init containers too."""
    return [
        container
        for each in objects.of("DaemonSet")
        for key in ("initContainers", "containers")
        for container in each["spec"]["template"]["spec"].get(key, [])
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_is_in_the_namespace(name: str) -> None:
    """Objects that are in a namespace are in the one that the overlay makes."""
    objects = overlay(name)
    [namespace] = objects.of("Namespace")
    inside = [each for each in objects if each["kind"] not in CLUSTER_WIDE]
    assert inside
    assert {each["metadata"]["namespace"] for each in inside} == {namespace["metadata"]["name"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_stays_behind_in_the_old_namespace(name: str) -> None:
    """Rendered for another namespace, everything is the same there: subjects and the policy's parameter moved too."""
    moved = overlay(name, "elsewhere")
    assert in_any_order(moved) == in_any_order([with_namespace(each, "elsewhere") for each in overlay(name)])
    assert '"namespace": "oomtracer"' not in json.dumps(moved)


def test_the_base_makes_no_namespace() -> None:
    """Put into a namespace that is there already, the base neither labels it nor takes it along when deleted."""
    assert not combined(*COMPONENTS, namespace="elsewhere").of("Namespace")


def with_namespace(value: Any, namespace: str) -> Any:
    """The same object or value, its namespaces replaced."""
    if isinstance(value, list):
        return [with_namespace(each, namespace) for each in value]
    if not isinstance(value, dict):
        return value
    new = {
        key: namespace if key == "namespace" else with_namespace(each, namespace)
        for key, each in value.items()
    }
    if new.get("kind") == "Namespace":
        new["metadata"] |= {"name": namespace}
    return new


def in_any_order(objects: Iterable[Object]) -> list[str]:
    """As sorted text, where the order means nothing: of objects and of variables."""
    return sorted(json.dumps(settled(each), sort_keys=True) for each in objects)


def settled(thing: Object) -> Object:
    """The object with its variables sorted."""
    thing = copy.deepcopy(thing)
    if thing["kind"] in CLUSTER_WIDE:
        # Kustomize takes admission policies for objects in a namespace; the API server drops it.
        thing["metadata"].pop("namespace", None)
    for container in containers(Rendered([thing])):
        container.get("env", []).sort(key=lambda variable: variable["name"])
    return thing


@pytest.mark.parametrize("pair", tuple(itertools.combinations(COMPONENTS, 2)), ids="+".join)
def test_two_components_combine_in_any_order(pair: tuple[str, str]) -> None:
    """Components do not depend on each other's place in the list."""
    first, second = pair
    assert in_any_order(combined(first, second)) == in_any_order(combined(second, first))


def test_all_components_combine() -> None:
    """All together, in another namespace: every capability, variable and object that each one brings is there."""
    everything = combined(*COMPONENTS, namespace="elsewhere")
    assert in_any_order(everything) == in_any_order(combined(*reversed(COMPONENTS), namespace="elsewhere"))
    for name in COMPONENTS:
        kinds = {(each["kind"], each["metadata"]["name"]) for each in combined(name, namespace="elsewhere")}
        assert kinds <= {(each["kind"], each["metadata"]["name"]) for each in everything}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_image_is_this_version_of_nowhere(name: str) -> None:
    """Images are `oomtracer:VERSION`, without a registry, so that `images:` in one's own kustomization names it."""
    images = {container["image"] for container in containers(overlay(name))}
    assert images == {f"oomtracer:{oomtracer.__version__}"}


def test_no_registry_is_named() -> None:
    """No file that a cluster gets names a host to take an image from."""
    files = [*DEPLOY.rglob("*.yaml"), *(ROOT / "docs/test-resources").rglob("*.yaml")]
    images = [
        image
        for path in files
        for image in re.findall(r"^\s*(?:- )?image:\s*(\S+)", path.read_text(), re.MULTILINE)
    ]
    assert images
    assert [image for image in images if "." in image.split("/")[0].split(":")[0]] == []
    assert [image for image in images if "/" in image] == []

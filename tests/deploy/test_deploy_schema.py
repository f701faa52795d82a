"""Every object against the schema of its kind; unknown fields fail."""

from __future__ import annotations

import copy

import jsonschema
import pytest
import yaml

from tests.deploy.render import COMPONENTS, DEPLOY, OVERLAYS, ROOT, Object, combined, overlay
from tests.deploy.schemas import VERSIONS, is_custom, validate

RESOURCES = tuple(sorted((ROOT / "docs/test-resources/k8s").rglob("*.yaml")))
POLICIES = tuple(sorted((DEPLOY / "descheduler").glob("*.yaml")))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_are_valid(name: str, version: str) -> None:
    """What an overlay renders, here or in another namespace, is what the API server knows."""
    for each in (*overlay(name), *overlay(name, "elsewhere")):
        validate(each, version)


def test_all_components_together_are_valid() -> None:
    """So is everything at once."""
    for each in combined(*COMPONENTS):
        validate(each, VERSIONS[0])


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.name)
def test_test_resources_are_valid(path: object) -> None:
    """The manifests for a rehearsal are what the API server knows; kustomizations are rendered elsewhere."""
    documents = [each for each in yaml.safe_load_all(path.read_text()) if each]  # type: ignore[attr-defined]
    for each in documents:
        if not each["apiVersion"].startswith("kustomize."):
            for version in VERSIONS:
                validate(each, version)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_policies_of_the_descheduler_are_valid(path: object) -> None:
    """They have the fields of v1alpha2, and the arguments that each plugin knows."""
    [policy] = yaml.safe_load_all(path.read_text())  # type: ignore[attr-defined]
    assert is_custom(policy)
    validate(policy, VERSIONS[0])


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of each object in an object."""
    if isinstance(value, dict):
        inner = [leaves(each, (*path, key)) for key, each in value.items()]
    elif isinstance(value, list):
        inner = [leaves(each, (*path, index)) for index, each in enumerate(value)]
    else:
        return []
    return [*([path] if isinstance(value, dict) else []), *(each for some in inner for each in some)]


# Maps whose keys are anybody's.
FREE = {"labels", "annotations", "matchLabels", "data", "hard", "requests", "limits", "nodeSelector"}


@pytest.mark.parametrize("name", ["admission-policy", "monitoring"])
def test_an_unknown_field_is_refused(name: str) -> None:
    """A field that nobody knows fails, wherever it stands: a slip of the pen cannot be rendered away."""
    for each in overlay(name):
        for path in leaves(each):
            if path and path[-1] in FREE:
                continue
            wrong: Object = copy.deepcopy(each)
            place = wrong
            for step in path:
                place = place[step]  # type: ignore[index]
            place["noSuchField"] = "x"
            with pytest.raises(jsonschema.ValidationError):
                validate(wrong, VERSIONS[0])

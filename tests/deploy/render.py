"""Manifests as `kubectl kustomize` renders them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import kubectl

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = tuple(sorted(path.name for path in (DEPLOY / "overlays").iterdir()))
COMPONENTS = tuple(sorted(path.name for path in (DEPLOY / "components").iterdir()))

Object = dict[str, Any]


class Rendered(list[Object]):
    """The objects of one rendering."""

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of that kind (and name)."""
        [found] = [each for each in self if each["kind"] == kind and name in (None, each["metadata"]["name"])]
        return found

    def of(self, kind: str) -> list[Object]:
        """All of that kind."""
        return [each for each in self if each["kind"] == kind]


@cache
def overlay(name: str, namespace: str | None = None) -> Rendered:
    """An overlay as it is, or by a kustomization of a user that moves it to another namespace."""
    if namespace is None:
        return _kustomize(DEPLOY / "overlays" / name)
    return kustomization({"namespace": namespace, "resources": [DEPLOY / "overlays" / name]})


@cache
def combined(*components: str, namespace: str | None = None) -> Rendered:
    """The base with components in that order, as in a user's own kustomization."""
    wanted: dict[str, Any] = {
        "resources": [DEPLOY / "base"],
        "components": [DEPLOY / "components" / name for name in components],
    }
    return kustomization(wanted | ({"namespace": namespace} if namespace else {}))


def kustomization(fields: dict[str, Any]) -> Rendered:
    """Render a kustomization made for the occasion; its paths may be absolute."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        # Kustomize takes relative paths only.
        content = {
            key: [os.path.relpath(each, here) if isinstance(each, Path) else each for each in value]
            if isinstance(value, list)
            else value
            for key, value in fields.items()
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return _kustomize(here)


def _kustomize(folder: Path) -> Rendered:
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Kustomize warns of what the next release will refuse.
    assert not done.stderr
    return Rendered(each for each in yaml.safe_load_all(done.stdout) if each)


def pod_spec(daemon_set: Object) -> Object:
    """The pod that a DaemonSet makes."""
    return dict(daemon_set["spec"]["template"]["spec"])


def agent(objects: Rendered) -> Object:
    """The agent's container."""
    [container] = pod_spec(objects.one("DaemonSet", "oomtracer"))["containers"]
    return dict(container)


def environment(objects: Rendered) -> dict[str, Object]:
    """The agent's variables: name to the whole entry."""
    return {each["name"]: each for each in agent(objects)["env"]}

"""A small image made here, for engines that fetch nothing; with the fixtures of tests/kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import kernel_log, victim
from tests.vm.containers import make_root, run

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["kernel_log", "victim"]


@pytest.fixture(scope="session")
def root_directory(tmp_path_factory: pytest.TempPathFactory, victim: str) -> Path:
    """The files of a container."""
    return make_root(tmp_path_factory.mktemp("image") / "root", victim)


@pytest.fixture(scope="session")
def image(root_directory: Path) -> str:
    """The same as an image of podman's."""
    tar = root_directory.with_name("image.tar")
    run("tar", "-c", "-f", str(tar), "-C", str(root_directory), ".")
    run("podman", "import", "--quiet", str(tar), "localhost/victim:1")
    tar.unlink()
    return "localhost/victim:1"

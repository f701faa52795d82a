"""What a release is made of, built once for all tests that look at it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ARCHITECTURES, HERE

BUILD_SECONDS = 1200  # the first test waits for all that is fetched and built


@pytest.fixture(scope="session", params=ARCHITECTURES)
def arch(request: pytest.FixtureRequest) -> str:
    """Name each architecture in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def each_wheel(dist: Path, arch: str) -> Path:
    """Return the wheel of one architecture."""
    (found,) = dist.glob(f"*_{arch}.whl")
    return found


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """Return the wheel of this machine's architecture."""
    (found,) = dist.glob(f"*_{HERE}.whl")
    return found


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    """Return the source archive."""
    (found,) = (path for path in dist.glob("*.tar.gz") if "-linux-" not in path.name)
    return found


@pytest.fixture(scope="session")
def bundle(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the bundle of this machine's architecture; return its directory."""
    (found,) = dist.glob(f"*-linux-{HERE}.tar.gz")
    target = tmp_path_factory.mktemp("bundle")
    subprocess.run(["tar", "-C", target, "-xf", found], check=True)
    return target / "oomtracer"

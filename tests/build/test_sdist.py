"""The source archive: whoever has it, and the tools, has the program."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .conftest import BUILD_SECONDS
from .harness import ROOT

pytestmark = pytest.mark.timeout(BUILD_SECONDS)


@pytest.fixture(scope="module")
def names(sdist: Path) -> set[str]:
    """List the archive, without its top directory."""
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def built(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the archive, away from the tree, in an environment that pip makes for it alone."""
    target = tmp_path_factory.mktemp("from-sdist")
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, sdist],
        env={**kept, "PATH": os.defpath},
        cwd=target,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = target.glob("*.whl")
    return found


def test_source_distribution_holds_the_inputs_of_the_build(names: set[str]) -> None:
    """Every source and every script is inside, and nothing that was compiled from C."""
    folders = (ROOT / "bpf", ROOT / "release", ROOT / "LICENSES")
    sources = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert {str(path.relative_to(ROOT)) for path in sources} <= names
    assert {
        "LICENSE",
        "Makefile",
        "build_bpf.py",
        "pyproject.toml",
        "oomtracer/libbpf/native.c",
        "oomtracer/libbpf/native.cdef.h",
        "oomtracer/libbpf/native_ring.h",
    } <= names
    assert not [name for name in names if name.endswith((".so", ".o"))]


def test_every_module_is_inside(names: set[str]) -> None:
    """No module of the package is missing."""
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "oomtracer").rglob("*.py*")}
    assert {name for name in modules if not name.endswith(".pyc")} <= names


def test_source_distribution_builds(built: Path, tmp_path: Path) -> None:
    """A wheel built from the archive alone has both objects and an extension that loads."""
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.bpf.o")} == {
        "oomtracer.x86.bpf.o",
        "oomtracer.arm64.bpf.o",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from oomtracer import _native; print(_native.__file__)"],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "oomtracer/_native.abi3.so")

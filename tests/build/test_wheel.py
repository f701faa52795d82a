"""`make wheel`: one file that runs where there is no compiler, no libbpf and no header."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import oomtracer

from .harness import ROOT

BUNDLED = ("libbpf", "libelf")
LICENCES = (
    "LGPL-2.1-only",
    "BSD-2-Clause",
    "LGPL-3.0-or-later",
    "GPL-2.0-or-later",
    "GPL-3.0-or-later",
    "Zlib",
)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `make wheel` into a directory of its own."""
    target = tmp_path_factory.mktemp("dist")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "wheel", f"DIST={target}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """Return the one wheel that was built."""
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in an empty virtual environment, with a PATH that holds no compiler."""
    environment = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    done = run(environment, "pip", "install", "--quiet", "--only-binary=:all:", wheel)
    assert done.returncode == 0, done.stderr
    return environment


def run(environment: Path, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a virtual environment, away from the tree, with nothing else in PATH."""
    hidden = ("PYTHON", "VIRTUAL_ENV", "LD_", "OOMTRACER_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(
        [environment / "bin" / command, *arguments],
        env={**variables, "PATH": str(environment / "bin")},
        cwd=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_tag_promises_every_python_from_3_11(wheel: Path) -> None:
    """One wheel serves CPython 3.11 and later on any Linux with a glibc of its time."""
    assert re.search(r"-cp311-abi3-manylinux_2_\d+_(x86_64|aarch64)\.whl$", wheel.name)


def test_extension_keeps_to_the_stable_abi(installed: Path) -> None:
    """The extension is named, and is, one for the stable ABI."""
    (extension,) = installed.glob("lib/python*/site-packages/oomtracer/_native*.so")
    assert extension.name == "_native.abi3.so"


def test_wheel_holds_everything_native(wheel: Path) -> None:
    """Objects of both architectures and the libraries are inside; sources of the build are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name for name in names if name.endswith(".bpf.o")} == {
        "oomtracer/bpf/oomtracer.x86.bpf.o",
        "oomtracer/bpf/oomtracer.arm64.bpf.o",
    }
    for library in BUNDLED:
        assert [name for name in names if name.startswith(f"oomtracer.libs/{library}-")]
    assert {name.split("/")[0] for name in names} == {
        "oomtracer",
        "oomtracer.libs",
        f"oomtracer-{oomtracer.__version__}.dist-info",
    }
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_licence_texts_are_inside(wheel: Path) -> None:
    """Whoever gets the libraries gets their licences: none is missing or empty."""
    with zipfile.ZipFile(wheel) as archive:
        folder = f"oomtracer-{oomtracer.__version__}.dist-info/licenses"
        for licence in LICENCES:
            assert len(archive.read(f"{folder}/LICENSES/{licence}.txt")) > 500
        assert b"Apache License" in archive.read(f"{folder}/LICENSE")
        notice = archive.read(f"{folder}/LICENSES/BUNDLED.txt").decode()
        inside = {
            Path(name).name.split("-")[0] for name in archive.namelist() if "oomtracer.libs/lib" in name
        }
        assert not [library for library in inside if library not in notice]


def test_libraries_come_from_inside_the_wheel(installed: Path) -> None:
    """The dynamic loader takes libbpf and libelf from the wheel, and finds everything else."""
    (extension,) = installed.glob("lib/python*/site-packages/oomtracer/_native*.so")
    listing = subprocess.run(["ldd", extension], capture_output=True, text=True, check=True).stdout
    assert "not found" not in listing
    for library in BUNDLED:
        (path,) = re.findall(rf"^\s*{library}-\S+ => (\S+)", listing, re.MULTILINE)
        assert Path(path).resolve().is_relative_to(installed.resolve())


def test_source_distribution_holds_the_inputs_of_the_build(dist: Path) -> None:
    """The wheel is built from the sdist, which holds every source and nothing that was compiled from C."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = [path for path in (ROOT / "bpf").rglob("*") if path.is_file()]
    assert {str(path.relative_to(ROOT)) for path in sources} <= names
    assert {
        "build_bpf.py",
        "pyproject.toml",
        "oomtracer/libbpf/native.c",
        "oomtracer/libbpf/native.cdef.h",
    } <= names
    assert not [name for name in names if name.endswith(".so")]


def test_installed_command_answers(installed: Path) -> None:
    """The installed command runs without anything but the wheel and its Python dependencies."""
    done = run(installed, "oomtracer", "version")
    assert done.returncode == 0, done.stderr
    assert oomtracer.__version__ in done.stdout


@pytest.mark.kernel
def test_installed_wheel_traces_a_real_kill(installed: Path) -> None:
    """`oomtracer selftest` of the installed wheel makes a real OOM kill and gets its report."""
    done = run(installed, "oomtracer", "selftest")
    assert done.returncode == 0, done.stdout + done.stderr

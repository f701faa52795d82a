"""`make wheel`: one file that runs where there is no compiler, no libbpf and no header."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import oomtracer

from . import elf
from .conftest import BUILD_SECONDS
from .harness import ROOT

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

BUNDLED = ("libbpf", "libelf")
# what the platform tag promises of every host
PROMISED = {"libc.so.6", "libz.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
OLDEST_GLIBC = (2, 28)
LICENCES = (
    "LGPL-2.1-only",
    "BSD-2-Clause",
    "LGPL-3.0-or-later",
    "GPL-2.0-or-later",
    "GPL-3.0-or-later",
    "Zlib",
)


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


def test_the_unit_is_where_the_readme_says(installed: Path) -> None:
    """An environment in /opt/oomtracer has the unit for systemd in share/oomtracer."""
    unit = installed / "share/oomtracer/oomtracer.service"
    assert unit.read_text() == (ROOT / "deploy/systemd/oomtracer.service").read_text()


def libraries(wheel: Path) -> dict[str, bytes]:
    """Return everything in a wheel that the dynamic loader maps, by path."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".so" in name]
        return {name: archive.read(name) for name in names}


def test_tag_promises_every_python_from_3_11(each_wheel: Path, arch: str) -> None:
    """One wheel per architecture serves CPython 3.11 and later on any Linux with glibc 2.28 or later."""
    assert each_wheel.name.endswith(f"-cp311-abi3-manylinux_2_28_{arch}.whl")


def test_libraries_are_of_the_architecture(each_wheel: Path, arch: str) -> None:
    """Whatever machine builds: the extension and the libraries inside are of the wheel's own architecture."""
    found = libraries(each_wheel)
    assert "oomtracer/_native.abi3.so" in found
    assert {elf.machine(content) for content in found.values()} == {elf.MACHINES[arch]}


def test_nothing_is_needed_that_is_not_inside_or_promised(each_wheel: Path) -> None:
    """Every library needed lies in the wheel or belongs to what its tag promises, and no symbol is newer."""
    found = libraries(each_wheel)
    inside = {Path(name).name for name in found}
    assert elf.missing(found.values(), inside | PROMISED) == set()
    used = set().union(*(elf.glibc_versions(content) for content in found.values()))
    assert used
    assert max(used) <= OLDEST_GLIBC


def test_extension_keeps_to_the_stable_abi(installed: Path) -> None:
    """The extension is named, and is, one for the stable ABI."""
    (extension,) = installed.glob("lib/python*/site-packages/oomtracer/_native*.so")
    assert extension.name == "_native.abi3.so"


def test_wheel_holds_everything_native(each_wheel: Path) -> None:
    """Objects of both architectures and the libraries are inside; sources of the build are not."""
    with zipfile.ZipFile(each_wheel) as archive:
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
        f"oomtracer-{oomtracer.__version__}.data",  # the unit
    }
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_licence_texts_are_inside(each_wheel: Path) -> None:
    """Whoever gets the libraries gets their licences: none is missing or empty."""
    with zipfile.ZipFile(each_wheel) as archive:
        folder = f"oomtracer-{oomtracer.__version__}.dist-info/licenses"
        for licence in LICENCES:
            assert len(archive.read(f"{folder}/LICENSES/{licence}.txt")) > 500
        assert b"Apache License" in archive.read(f"{folder}/LICENSE")
        notice = archive.read(f"{folder}/LICENSES/BUNDLED.txt").decode()
        inside = {
            Path(name).name.split("-")[0] for name in archive.namelist() if "oomtracer.libs/lib" in name
        }
        assert inside == set(BUNDLED)
        assert not [library for library in inside if library not in notice]


def test_libraries_come_from_inside_the_wheel(installed: Path) -> None:
    """The dynamic loader takes libbpf and libelf from the wheel, and finds everything else."""
    (extension,) = installed.glob("lib/python*/site-packages/oomtracer/_native*.so")
    listing = subprocess.run(["ldd", extension], capture_output=True, text=True, check=True).stdout
    assert "not found" not in listing
    for library in BUNDLED:
        (path,) = re.findall(rf"^\s*{library}-\S+ => (\S+)", listing, re.MULTILINE)
        assert Path(path).resolve().is_relative_to(installed.resolve())


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

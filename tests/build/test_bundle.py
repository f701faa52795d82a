"""`make bundle`: a directory that runs on hosts whose own Python is too old, here a real one of Debian 11."""

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

import oomtracer

from . import elf
from .conftest import BUILD_SECONDS, HERE
from .harness import ROOT

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

OLD_HOST = ROOT / ".cache/old-host"
SUITE = "bullseye"  # Python 3.9, glibc 2.31

# In mounts of its own, the bundle where it belongs, and what a host has.
ENTER = """
cd "$1"
for each in dev proc sys; do mount --rbind "/$each" "$each"; done
mount --bind "$2" opt/oomtracer
shift 2
exec chroot . "$@"
"""


def make_host(target: Path) -> None:
    """Install the smallest Debian of the suite, from the mirror that this machine uses."""
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([ROOT / "release/private-apt", work, SUITE], check=True, capture_output=True)
        sources = Path(work, "sources.list")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3-minimal", SUITE, target]
        subprocess.run([*command, sources], check=True)
    (target / "opt/oomtracer").mkdir()


@pytest.fixture(scope="session")
def old_host() -> Path:
    """Return the root of an old host; it is made once, and kept."""
    if os.geteuid() != 0:
        pytest.skip("an old host needs root: run `sudo make test`")
    if not OLD_HOST.exists():
        unfinished = OLD_HOST.with_name(f"old-host.{os.getpid()}")
        make_host(unfinished)
        unfinished.rename(OLD_HOST)
    return OLD_HOST


def on_host(host: Path, bundle: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the old host, where the bundle is installed."""
    enter = ["unshare", "--mount", "sh", "-ec", ENTER, "sh", host, bundle]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(
        [*enter, *command], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_host_is_too_old_for_the_wheel(old_host: Path, bundle: Path) -> None:
    """The host that the bundle is tried on is one that cannot use the wheel: its Python is older than 3.11."""
    done = on_host(old_host, bundle, "python3", "-c", "import sys; print(sys.version_info < (3, 11))")
    assert done.stdout == "True\n", done.stderr


def test_bundle_has_the_unit(bundle: Path) -> None:
    """It is at the same place as in an environment of the wheel."""
    unit = bundle / "share/oomtracer/oomtracer.service"
    assert unit.read_text() == (ROOT / "deploy/systemd/oomtracer.service").read_text()


def test_bundle_answers_on_an_old_host(old_host: Path, bundle: Path) -> None:
    """The program runs, whatever Python and C library the host has."""
    done = on_host(old_host, bundle, "/opt/oomtracer/bin/oomtracer", "version")
    assert done.stdout == f"oomtracer {oomtracer.__version__}\n", done.stderr


@pytest.mark.kernel
def test_bundle_traces_a_real_kill_on_an_old_host(old_host: Path, bundle: Path) -> None:
    """`oomtracer selftest` of the bundle makes a real OOM kill there and gets its report."""
    done = on_host(old_host, bundle, "/opt/oomtracer/bin/oomtracer", "selftest")
    assert done.returncode == 0, done.stdout + done.stderr


def test_extension_fits_an_old_c_library(old_host: Path, bundle: Path) -> None:
    """The loader of that host finds all libraries and versions of symbols that the wheel's extension needs."""
    extension = "/opt/oomtracer/lib/python3/dist-packages/oomtracer/_native.abi3.so"
    done = on_host(old_host, bundle, "ldd", extension)
    assert done.returncode == 0, done.stderr
    assert "libbpf-" in done.stdout
    assert "not found" not in done.stdout + done.stderr


def test_bundle_needs_nothing_of_the_host(bundle: Path) -> None:
    """Every library that a file of the bundle needs is in the bundle, for its architecture, the loader too."""
    files = elf.elf_files(bundle)
    names = {path.name for path in bundle.rglob("*.so*")}
    assert elf.missing(files.values(), names) == set()
    assert {elf.machine(content) for content in files.values()} == {elf.MACHINES[HERE]}
    (interpreter,) = (
        segment.get_interp_name()
        for segment in elf.read((bundle / "bin/python3").read_bytes()).iter_segments("PT_INTERP")
    )
    assert (bundle / Path(interpreter).relative_to("/opt/oomtracer")).is_file()


def test_bundle_is_the_runtime_alone(bundle: Path) -> None:
    """No shell, no package manager, no compiler, nothing that changes who runs it."""
    assert {path.name for path in (bundle / "bin").iterdir()} == {"oomtracer", "python3", "python3.13"}
    assert not [path for path in bundle.rglob("*") if path.name in {"pip", "ensurepip", "setuptools"}]
    modes = [path.lstat().st_mode for path in bundle.rglob("*") if not path.is_symlink()]
    assert not [mode for mode in modes if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)]


def test_every_module_has_its_bytecode(bundle: Path) -> None:
    """What starts in a read-only file system was compiled before."""
    package = bundle / "lib/python3/dist-packages/oomtracer"
    for source in package.rglob("*.py"):
        assert (source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc").is_file(), source


def test_notices_of_all_parts_are_inside(bundle: Path) -> None:
    """Each Debian package and each Python distribution in the bundle comes with its copyright notice."""
    for library in ("libc6", "libssl3t64", "libsqlite3-0", "zlib1g", "libpython3.13-stdlib"):
        assert (bundle / "share/doc" / library / "copyright").stat().st_size > 500
    assert (bundle / "share/common-licenses/LGPL-2.1").stat().st_size > 500
    (licences,) = bundle.glob("lib/python3/dist-packages/oomtracer-*.dist-info/licenses/LICENSES")
    assert {path.name for path in (ROOT / "LICENSES").iterdir()} == {path.name for path in licences.iterdir()}

"""The image of the Dockerfile: built from nothing but Debian's packages and PyPI's, and run as a pod runs it."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import oomtracer
from tests.build import elf
from tests.kernel.agent import Lines, parse_report

from .engine import ARCHITECTURES, PODMAN, build, like_the_manifest, mounted, podman, seccomp_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(1200)

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
HERE = MACHINES[os.uname().machine]
CGROUPS = Path("/sys/fs/cgroup")
IMPORT_ALL = """
import pkgutil, oomtracer
found = [each.name for each in pkgutil.walk_packages(oomtracer.__path__, "oomtracer.")]
print(len([__import__(name) for name in found if not name.endswith("__main__")]))
"""
# The self-test makes a cgroup: it sees the host's, writable, and may pass over the rights of its files.
SELFTEST = ("--volume", f"{CGROUPS}:{CGROUPS}", "--cgroupns", "host", "--cap-add", "DAC_OVERRIDE")


@pytest.fixture(scope="session")
def building() -> Iterator[dict[str, Future[str]]]:
    """Start to build the image for both architectures; yield names to come by architecture."""
    if os.geteuid() != 0:
        pytest.skip("an image needs root to be built here: run `sudo make test`")
    with ThreadPoolExecutor(1) as pool:
        yield {arch: pool.submit(build, arch) for arch in ARCHITECTURES}


@pytest.fixture(scope="session")
def images(building: dict[str, Future[str]]) -> dict[str, str]:
    """Wait for the images; return names by architecture."""
    return {arch: image.result() for arch, image in building.items()}


@pytest.fixture(scope="session")
def run(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Make the command that runs the image as the manifest says, with more options for Podman first."""
    profile = seccomp_profile(tmp_path_factory.mktemp("seccomp") / "profile.json")
    confined = [*like_the_manifest(), "--security-opt", f"seccomp={profile}"]

    def command(*arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        runtime = ["--runtime", "runc", "run", "--rm"]  # crun wants one version of cgroups alone
        return [*map(str, PODMAN), *runtime, *confined, *options, images[HERE], *arguments]

    return command


@pytest.fixture(scope="session", params=ARCHITECTURES)
def arch(request: pytest.FixtureRequest) -> str:
    """Name each architecture in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def tree(images: dict[str, str], arch: str) -> Iterator[Path]:
    """Mount the image of one architecture; return its root."""
    with mounted(images[arch]) as root:
        yield root


def ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_they_are_started(building: dict[str, Future[str]]) -> None:
    """One of the first tests of a whole run: images are built while the others go on."""
    assert set(building) == set(ARCHITECTURES)


def test_image_is_of_the_architecture(images: dict[str, str], arch: str) -> None:
    """The image says for which architecture it is, so that a registry hands out the right one."""
    (about,) = json.loads(podman("image", "inspect", images[arch]))
    assert about["Architecture"] == arch


def test_image_holds_the_bundle_alone(tree: Path) -> None:
    """Nothing is in the image but /opt/oomtracer: no shell, no package manager, no compiler."""
    assert {path.name for path in tree.iterdir()} == {"opt"}
    assert {path.name for path in (tree / "opt").iterdir()} == {"oomtracer"}
    assert {path.name for path in (tree / "opt/oomtracer").iterdir()} == {"bin", "lib", "share"}
    assert {path.name for path in (tree / "opt/oomtracer/bin").iterdir()} == {
        "oomtracer",
        "python3",
        "python3.13",
    }


def test_image_needs_no_library_that_is_not_inside(tree: Path, arch: str) -> None:
    """Each library that a file in the image needs is in the image, and all are of one architecture."""
    files = elf.elf_files(tree)
    assert elf.missing(files.values(), {path.name for path in tree.rglob("*.so*")}) == set()
    name = next(name for name, docker in MACHINES.items() if docker == arch)
    assert {elf.machine(content) for content in files.values()} == {elf.MACHINES[name]}


def test_licences_of_the_libraries_are_in_the_image(tree: Path) -> None:
    """The licences of libbpf, libelf and zlib are in the image, as everybody's whose files are there."""
    (licences,) = tree.glob("opt/oomtracer/lib/python3/dist-packages/oomtracer-*.dist-info/licenses/LICENSES")
    for text in ("BSD-2-Clause", "LGPL-2.1-only", "LGPL-3.0-or-later", "GPL-2.0-or-later", "Zlib"):
        assert (licences / f"{text}.txt").stat().st_size > 500
    assert "libelf" in (licences / "BUNDLED.txt").read_text()
    assert "zlib" in (tree / "opt/oomtracer/share/doc/zlib1g/copyright").read_text()


def test_image_of_another_architecture_runs(images: dict[str, str]) -> None:
    """The image of arm64, made without running any of it, imports all that the program is made of."""
    with mounted(images["arm64"]) as root:
        emulator = [] if HERE == "arm64" else ["qemu-aarch64-static", "-L", str(root)]
        done = ask([*emulator, str(root / "opt/oomtracer/bin/python3.13"), "-I", "-c", IMPORT_ALL])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_image_holds_all_that_the_program_imports(run) -> None:
    """Every module of the program, and what it imports, is in the image."""
    done = ask(run("-I", "-c", IMPORT_ALL, options=("--entrypoint", "python3")))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_container_answers(run) -> None:
    """The image's command is the program."""
    done = ask(run("version"))
    assert done.stdout == f"oomtracer {oomtracer.__version__}\n", done.stderr


def test_container_has_no_shell(run) -> None:
    """Whoever gets in finds no shell."""
    done = ask(run("-c", "true", options=("--entrypoint", "sh")))
    assert done.returncode == 127
    assert "not found" in done.stderr


def test_command_of_the_manifest_is_found(run) -> None:
    """`command: [oomtracer, ...]`, by which manifests replace the image's own, is found by its name; so is python3."""
    for name, flag in (("oomtracer", "--help"), ("python3", "--version")):
        done = ask(run(flag, options=("--entrypoint", name)))
        assert done.returncode == 0, done.stderr


@pytest.mark.kernel
def test_three_capabilities_are_enough(run) -> None:
    """`oomtracer check` in a read-only container with the manifest's capabilities: kills can be traced there."""
    done = ask(run("check"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OOM kills can be traced here" in done.stdout


@pytest.mark.kernel
def test_container_reports_a_kill_of_the_host(run) -> None:
    """A read-only container with the manifest's capabilities reports a kill outside of it, and stops when told."""
    command = run("run", "--output", "json", options=("--init=false",))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as container:
        try:
            Lines(container.stderr.fileno()).until("tracing OOM kills")
            made = ask([*run("selftest", options=SELFTEST)])
            assert made.returncode == 0, made.stdout + made.stderr
            report = parse_report(Lines(container.stdout.fileno()).next() or "")
            assert report["selftest"]
            assert report["outcome"] == "killed"
        finally:
            container.terminate()
            assert container.wait(60) == 0

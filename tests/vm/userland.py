"""What runs in a guest: Debian's packages, Python's, the built wheel and the tests, packed as an initramfs.

Two archives, of which the kernel unpacks one over the other: a base that is kept between runs, and a small layer
that is made for each boot.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tests.vm.archive import Archive, unpack
from tests.vm.kernels import Kernel

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).with_name("guest")
# Where pip's packages go: Debian's Python looks there first.
SITE = "usr/local/lib/python3.11/dist-packages"

PLAIN = ("bpftool", "busybox-static", "coreutils", "dash", "kmod", "mount", "python3", "util-linux")
PACKAGES = {
    "plain": PLAIN,
    "numa": PLAIN,
    "lockdown": PLAIN,
    "small": PLAIN,
    "systemd": (*PLAIN, "crun", "dbus", "systemd", "systemd-sysv"),
    "podman": (*PLAIN, "catatonit", "crun", "podman", "runc"),
}
CLUSTER = ("aiohttp", "kubernetes-asyncio", "pyyaml", "yarl")
TEST_TOOLS = ("jsonschema", "pytest", "pytest-timeout")
# Of a package's files nobody needs in a guest; perl comes with tools that no test calls.
UNUSED = (
    *(
        f"usr/share/{name}"
        for name in ("doc", "info", "locale", "man", "perl", "perl5", "lintian", "bash-completion")
    ),
    *(
        f"usr/lib/python3.11/{name}"
        for name in ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter")
    ),
    *(f"usr/lib/{arch}-linux-gnu/perl" for arch in ("x86_64", "aarch64")),
    "usr/lib/systemd/hwdb.d",
    "usr/lib/udev/hwdb.d",
)
TESTS = ("tests/__init__.py", "tests/conftest.py", "tests/kernel", "tests/vm", "docs/oom-report.schema.json")


def base(kind: str, arch: str, cache: Path, archive: Archive) -> Path:
    """The archive with everything that does not depend on this tree's sources; made once."""
    requirements = [*_dependencies(), *TEST_TOOLS]
    recipe = repr((PACKAGES[kind], requirements, UNUSED, Path(__file__).read_text()))
    path = cache / f"base-{kind}-{arch}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.cpio"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=cache) as name:
        directory = Path(name)
        _merged_usr(directory)
        for package in archive.fetch_with_dependencies(PACKAGES[kind], arch):
            if not package.name.startswith(("perl", "libperl")):
                unpack(package, directory)
        _pip_install(directory / SITE, arch, requirements)
        for unused in UNUSED:
            shutil.rmtree(directory / unused, ignore_errors=True)
        _compile(directory / "usr")
        pack(directory, path)
    return path


def _dependencies() -> list[str]:
    """What the wheel needs without a cluster: the API server's client is half of it, and no guest has one."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [each for each in declared if not each.startswith(CLUSTER)]


def layer(
    path: Path, *, kind: str, arch: str, wheel: Path, victim: Path, kernel: Kernel, settings: dict[str, str]
) -> None:
    """The archive with the wheel, the tests, the kernel's modules, this kind's files and this boot's settings."""
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        directory = Path(name)
        _merged_usr(directory)
        _pip_install(directory / SITE, arch, [str(wheel)], "--no-deps")
        for test in TESTS:
            _copy(ROOT / test, directory / "oomtracer" / test)
        _copy(ROOT / "pyproject.toml", directory / "oomtracer/pyproject.toml")
        _copy(victim, directory / "oomtracer/victim")
        _copy(FILES / "init", directory / "init")
        _copy(FILES / kind, directory)
        _copy(kernel.modules, directory / "oomtracer/modules")
        (directory / "oomtracer/settings").write_text(
            "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
        )
        _compile(directory)
        pack(directory, path)


def pack(directory: Path, path: Path) -> None:
    """Pack a tree in the form that the kernel unpacks (cpio, newc), owned by root."""
    directory.chmod(0o755)  # it is the guest's root, and not root's alone
    temporary = path.with_suffix(f".{os.getpid()}")
    with temporary.open("wb") as out:
        names = subprocess.run(
            ["find", ".", "-print0"], cwd=directory, capture_output=True, check=True
        ).stdout
        command = ["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"]
        subprocess.run(command, cwd=directory, input=names, stdout=out, check=True)
    temporary.replace(path)


def _merged_usr(directory: Path) -> None:
    """Debian's layout, which its packages rely on: /bin, /lib and /sbin are links."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (directory / "usr" / name).mkdir(parents=True, exist_ok=True)
        (directory / name).symlink_to(f"usr/{name}")


def _pip_install(target: Path, arch: str, requirements: Iterable[str], *options: str) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_{arch}" for minor in range(36, 4, -1)]
    platforms += [f"--platform=manylinux2014_{arch}"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    command += ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *platforms]
    command += ["--root-user-action=ignore", f"--target={target}", *options, *requirements]
    subprocess.run(command, check=True)


def _compile(directory: Path) -> None:
    """Byte code for every module: an emulated processor takes seconds for it."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*command, "-s", directory, directory], check=False, capture_output=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy(source, target)


def victim(arch: str, cache: Path) -> Path:
    """The victim of the tests, compiled for a guest, which has no compiler."""
    path = cache / f"victim-{arch}"
    target = [
        f"--target={arch}-linux-gnu",
        f"--sysroot={ROOT}/.cache/sysroot/{arch}",
        "-fuse-ld=lld",
        "-static",
    ]
    source = ROOT / "tests/kernel/victim.c"
    subprocess.run(["clang", *target, "-O1", "-Wall", "-Werror", "-o", path, source, "-lpthread"], check=True)
    return path

"""Runs the tests of one guest: everything it needs, its boot, and the judgement on what it sent back."""

from __future__ import annotations

import json
import subprocess
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.vm import userland
from tests.vm.archive import Archive
from tests.vm.guests import Guest
from tests.vm.kernels import SUITES, Kernel, fetch_kernel
from tests.vm.machine import RESULT_DEVICES, GuestError, Machine, boot, splats

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/vm"
USERLAND_SUITES = ("bookworm",)
# Of the slowest guest on a busy machine; one that is not done by then hangs.
DEADLINE_SECONDS = 900.0
# Which tests run in a guest of which kind.
SELECTIONS = {
    "plain": "tests/kernel tests/vm/scenarios",
    "numa": "tests/vm/numa",
    "lockdown": "tests/vm/lockdown",
    "systemd": "tests/vm/systemd",
    "podman": "tests/vm/podman",
}


@dataclass(kw_only=True)
class Result:
    """What became of one guest; it passed if there is no fault."""

    guest: str
    kernel: str = ""
    arch: str = ""
    cgroup: str = ""
    tests: str = ""
    hooks: list[str] = field(default_factory=list)
    passed: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Lab:
    """Fetches and builds what guests are made of, once for all of them."""

    def __init__(self, wheels: Path, cache: Path = CACHE) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self.cache = cache
        self._wheels = wheels
        self._kernels = Archive(cache / "kernels", SUITES)
        self._userland = Archive(cache / "userland", USERLAND_SUITES)

    def update(self) -> None:
        """Fetch the package lists where there are none yet."""
        for archive in (self._kernels, self._userland):
            if not archive.is_known:
                archive.update()

    def prepare(self, guest: Guest, directory: Path, tests: str) -> tuple[Kernel, Machine]:
        """The kernel, and a machine ready to boot."""
        kernel = fetch_kernel(guest.package, guest.arch, self.cache, self._kernels)
        base = userland.base(guest.tests, guest.arch, self.cache, self._userland)
        layer, initramfs = directory / "layer.cpio", directory / "initramfs.cpio"
        userland.layer(
            layer,
            kind=guest.tests,
            arch=guest.arch,
            wheel=self._wheel(guest.arch),
            victim=userland.victim(guest.arch, self.cache),
            kernel=kernel,
            settings=_settings(guest, tests),
        )
        with initramfs.open("wb") as out:
            subprocess.run(["cat", base, layer], stdout=out, check=True)
        machine = Machine(
            arch=guest.arch,
            image=kernel.image,
            initramfs=initramfs,
            memory_mib=guest.memory_mib,
            command_line=guest.command_line,
            options=guest.qemu,
        )
        return kernel, machine

    def _wheel(self, arch: str) -> Path:
        [found] = self._wheels.glob(f"*_{arch}.whl")
        return found

    def run(self, guest: Guest, selection: str = "") -> Result:
        """Boot a guest and judge it. Its files stay in a folder of its name."""
        directory = self.cache / "guests" / guest.name
        directory.mkdir(parents=True, exist_ok=True)
        result = Result(guest=guest.name, arch=guest.arch, cgroup=guest.cgroup, tests=guest.tests)
        kernel, machine = self.prepare(guest, directory, f"{SELECTIONS[guest.tests]} {selection}")
        result.kernel = kernel.package.version
        start = time.monotonic()
        try:
            files = boot(machine, directory, DEADLINE_SECONDS)
        except GuestError as error:
            result.faults = [str(error)]
            files = {}
        result.seconds = round(time.monotonic() - start, 1)
        for path in (machine.initramfs, directory / "layer.cpio"):
            path.unlink()  # 200 MB
        for name, content in files.items():
            (directory / name).write_bytes(content)
        if files:
            _judge(result, guest, files, (directory / "console.txt").read_text(errors="replace"))
        (directory / "result.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
        return result


def _settings(guest: Guest, tests: str) -> dict[str, str]:
    return {
        "CGROUP": guest.cgroup,
        "HOOKS": ",".join(guest.hooks),
        "RESULTS": RESULT_DEVICES[guest.arch],
        "TESTS": tests,
    }


def _judge(result: Result, guest: Guest, files: dict[str, bytes], console: str) -> None:
    """Find every fault: a failed, skipped or missing test, another hook than expected, a fault of the kernel."""
    result.hooks = _hooks(files.get("check.json", b""))
    if result.hooks != list(guest.hooks):
        result.faults.append(f"hooks in use are {result.hooks}, not {list(guest.hooks)}")
    result.faults += [f"the kernel said: {line}" for line in splats(console + _text(files, "dmesg.txt"))]
    if (status := _text(files, "status").strip()) != "0":
        told = _text(files, "pytest.txt").splitlines()
        result.faults.append("\n".join([f"pytest ended with {status}:", *told[-60:]]))
    if "junit.xml" in files:
        _judge_tests(result, files["junit.xml"])
    else:
        result.faults.append("no test ran")


def _judge_tests(result: Result, junit: bytes) -> None:
    cases = ET.fromstring(junit).findall(".//testcase")
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("skipped") is not None:
            result.faults.append(f"{name} did not run: {case.find('skipped').get('message')}")  # type: ignore[union-attr]
        elif case.find("failure") is None and case.find("error") is None:
            result.passed += 1
    if not cases:
        result.faults.append("no test ran")


def _hooks(check: bytes) -> list[str]:
    hooks = json.loads(check)["hooks"] if check.strip() else []
    return [hook["name"] for hook in hooks if hook["used"]]


def _text(files: dict[str, bytes], name: str) -> str:
    return files.get(name, b"").decode(errors="replace")

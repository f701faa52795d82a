"""Runs the tests of one guest: everything it needs, its boot, and the judgement on what it sent back."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.vm import userland
from tests.vm.archive import Archive, ArchiveError, unpack
from tests.vm.disk import make_disk
from tests.vm.guests import Guest
from tests.vm.kernels import SUITES, Kernel, fetch_kernel
from tests.vm.machine import RESULT_DEVICES, TAINTS, GuestError, Machine, boot, splats

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/vm"
USERLAND_SUITES = ("bookworm",)
# Of the slowest guest on a busy machine; one that is not done by then hangs.
DEADLINE_SECONDS = 1800.0
# Which tests run in a guest of which kind.
SELECTIONS = {
    # Disks that are full or broken are the same on every kernel, and their test needs those of the journal.
    "plain": "-m 'not any_kernel' --ignore-glob 'tests/kernel/test_fault_*.py' tests/kernel tests/vm/scenarios",
    "numa": "tests/vm/numa",
    "lockdown": "tests/vm/lockdown",
    "systemd": "tests/vm/systemd",
    "podman": "tests/vm/podman",
    "small": "tests/vm/small",
}
# Those whose memory is not for files.
ON_DISK = ("small",)


def _only(kept: Mapping[str, Sequence[str]]) -> str:
    return " or ".join([f"not ({' or '.join(kept)})", *(name for names in kept.values() for name in names)])


# What `make test` has no time for: the whole of it is to end in a quarter of an hour.
LEFT_OUT = (
    *(f"tests/kernel/test_{name}.py" for name in ("check", "limits", "privileges", "selftest", "storm")),
    "tests/vm/scenarios/test_pods.py",
)
# Those that switch a whole group off; every hook that can be forced stays.
DESELECTED = (
    "no truth",
    "no context",
    "tp_btf/mark_victim_pid, no truth",
    "tracepoint/oom/mark_victim, no truth",
)
# Of these files, the tests that depend most on the kernel: which links it can pin, what its verifier takes, what it
# counts, what its log looks like.
KEPT = {
    "test_backfill.py": ("test_a_kill_at_its_own_limit[kmsg]", "test_a_group_kill[syslog]"),
    "test_counts.py": ("test_the_program_counts_what_the_kernel_counts[1048576]",),
    "test_log.py": ("test_sysrq_asks_for_a_kill",),
    "test_pin_directory.py": (),
    "test_pins.py": (
        "test_kills_while_nobody_is_there_are_told",
        "test_hooks_of_perf_events",
        "test_a_missing_bpffs_is_mounted",
    ),
    "test_pins_replaced.py": ("test_what_was_pinned_otherwise_is_replaced[other",),
    "test_ring.py": (),
    "test_share.py": ("test_a_pod_that_dies_in_a_loop_leaves_room[pod_slice]",),
}
BRIEF = {
    "plain": " ".join(
        [f"--ignore {path}" for path in LEFT_OUT]
        + [
            f"--deselect 'tests/kernel/test_variants.py::test_the_reports_are_the_same[{name}]'"
            for name in DESELECTED
        ]
        + [f"-k '{_only(KEPT)}'"]
    )
}


@dataclass(kw_only=True)
class Result:
    """What became of one guest; it passed if there is no fault."""

    guest: str
    kernel: str = ""
    arch: str = ""
    cgroup: str = ""
    tests: str = ""
    brief: bool = False
    hooks: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    passed: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Lab:
    """Fetches and builds what guests are made of, once for all of them."""

    def __init__(self, wheels: Path, cache: Path = CACHE) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self.cache = cache
        self._wheels = wheels
        self._preparing = threading.Lock()  # guests share what is fetched and built
        self._kernels = Archive(cache / "kernels", SUITES)
        self._userland = Archive(cache / "userland", USERLAND_SUITES)

    def update(self) -> None:
        """Fetch the package lists where there are none, or old ones."""
        for archive in (self._kernels, self._userland):
            if not archive.is_current:
                archive.update()

    def prepare(self, guest: Guest, directory: Path, tests: str) -> tuple[Kernel, Machine]:
        """The kernel, and a machine ready to boot."""
        kernel = self.kernel(guest)
        base = userland.base(guest.tests, guest.arch, self.cache, self._userland)
        layer = directory / "layer.cpio"
        userland.layer(
            layer,
            kind=guest.tests,
            arch=guest.arch,
            wheel=self._wheel(guest.arch),
            victim=userland.victim(guest.arch, self.cache),
            kernel=kernel,
            settings=_settings(guest, tests),
        )
        on_disk = guest.tests in ON_DISK
        root = directory / ("disk" if on_disk else "initramfs.cpio")
        (make_disk if on_disk else _make_initramfs)(root, [base, layer])
        layer.unlink()
        machine = Machine(
            arch=guest.arch,
            image=kernel.image,
            initramfs=None if on_disk else root,
            disk=root if on_disk else None,
            memory_mib=guest.memory_mib,
            command_line=guest.command_line,
            options=guest.qemu,
        )
        return kernel, machine

    def kernel(self, guest: Guest) -> Kernel:
        """The kernel of a guest."""
        return fetch_kernel(guest.package, guest.arch, self.cache, self._kernels)

    def busybox(self, arch: str, path: Path) -> None:
        """A shell and more in one file that needs nothing else."""
        [package] = self._userland.fetch_with_dependencies(["busybox-static"], arch)
        with tempfile.TemporaryDirectory() as name:
            unpack(package, Path(name))
            [found] = Path(name).glob("**/bin/busybox")
            shutil.copy(found, path)

    def _wheel(self, arch: str) -> Path:
        found = next(self._wheels.glob(f"*_{arch}.whl"), None)
        if found is None:
            raise ArchiveError(f"no wheel for {arch} in {self._wheels}: run `make wheels`")
        return found

    def run(self, guest: Guest, selection: str = "", *, brief: bool = False) -> Result:
        """Boot a guest and judge it. Its files stay in a folder of its name."""
        selection = f"{BRIEF.get(guest.tests, '')} {selection}" if brief else selection
        directory = self.cache / "guests" / guest.name
        directory.mkdir(parents=True, exist_ok=True)
        result = Result(guest=guest.name, arch=guest.arch, cgroup=guest.cgroup, tests=guest.tests)
        result.brief = brief and guest.tests in BRIEF
        try:
            with self._preparing:
                kernel, machine = self.prepare(guest, directory, f"{SELECTIONS[guest.tests]} {selection}")
        except (ArchiveError, subprocess.CalledProcessError) as error:
            result.faults = [f"it cannot be made: {error}"]
            return result
        result.kernel = kernel.package.version
        start = time.monotonic()
        try:
            files = boot(machine, directory, DEADLINE_SECONDS)
        except GuestError as error:
            result.faults = [str(error)]
            files = {}
        result.seconds = round(time.monotonic() - start, 1)
        for root in filter(None, (machine.initramfs, machine.disk)):
            root.unlink()  # 200 MB
        for name, content in files.items():
            (directory / name).write_bytes(content)
        if files:
            judge(result, guest, files, (directory / "console.txt").read_text(errors="replace"))
        (directory / "result.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
        return result


def _make_initramfs(path: Path, archives: list[Path]) -> None:
    with path.open("wb") as out:
        subprocess.run(["cat", *archives], stdout=out, check=True)


def _settings(guest: Guest, tests: str) -> dict[str, str]:
    return {
        "CGROUP": guest.cgroup,
        "HOOKS": ",".join(guest.hooks),
        "RESULTS": RESULT_DEVICES[guest.arch],
        "TESTS": tests,
    }


def judge(result: Result, guest: Guest, files: dict[str, bytes], console: str) -> None:
    """Find every fault: a failed, skipped or missing test, other hooks than expected, a fault of the kernel."""
    result.hooks = _hooks(_text(files, "check.json"))
    if result.hooks != list(guest.hooks):
        result.faults.append(f"hooks in use are {result.hooks}, not {list(guest.hooks)}")
    result.faults += [f"the kernel said: {line}" for line in splats(console + _text(files, "dmesg.txt"))]
    result.faults += _taints(_text(files, "tainted"))
    if (status := _text(files, "status").strip()) != "0":
        told = _text(files, "pytest.txt").splitlines()
        result.faults.append("\n".join([f"pytest ended with {status}:", *told[-60:]]))
    _judge_tests(result, _text(files, "junit.xml"), _text(files, "selected"))
    if result.forced and set(result.forced) != {*guest.hooks, *guest.also}:
        result.faults.append(f"hooks that can be used are {result.forced}, not {[*guest.hooks, *guest.also]}")


def _judge_tests(result: Result, junit: str, selected: str) -> None:
    cases = ET.fromstring(junit).findall(".//testcase") if junit else []
    for case in cases:
        skipped = case.find("skipped")
        if skipped is not None:
            name = f"{case.get('classname')}::{case.get('name')}"
            result.faults.append(f"{name} did not run: {skipped.get('message')}")
        elif case.find("failure") is None and case.find("error") is None:
            result.passed += 1
            result.forced += [value for each in case.iter("property") if (value := each.get("value"))]
    result.forced = sorted(set(result.forced))
    if not cases or str(len(cases)) != selected.strip():
        result.faults.append(f"{len(cases)} tests ran of {selected.strip() or 'an unknown number'}")


def _taints(tainted: str) -> list[str]:
    if not tainted.strip().isdigit():
        return ["nobody knows whether the kernel is tainted"]
    return [f"the kernel is tainted: {why}" for bit, why in TAINTS.items() if int(tainted) >> bit & 1]


def _hooks(check: str) -> list[str]:
    try:
        return [hook["name"] for hook in json.loads(check)["hooks"] if hook["used"]]
    except ValueError:  # cut off, or nothing: other hooks than expected, unless none are
        return []


def _text(files: dict[str, bytes], name: str) -> str:
    return files.get(name, b"").decode(errors="replace")

"""One boot of a guest in QEMU: its command line, its end, and what it sent back."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

END = b"end-of-results"
# Emulated, whatever the host is: no test depends on a processor that can virtualise.
_COMMON = ("-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot", "-display", "none")
_MACHINES = {
    "x86_64": ("qemu-system-x86_64", "-machine", "pc", "-cpu", "max", "-serial", "chardev:console"),
    "aarch64": (
        "qemu-system-aarch64",
        "-machine",
        "virt",
        "-cpu",
        "cortex-a72",
        "-serial",
        "chardev:console",
    ),
}
_RESULT_PORTS = {
    "x86_64": ("-serial", "chardev:results"),
    "aarch64": ("-device", "pci-serial,chardev=results"),
}
# Of the kinds that every kernel has built in: a controller and a file system.
_DISK = ("-device", "nvme,drive=disk,serial=disk")
_ROOT_ON_DISK = "root=/dev/nvme0n1 rootfstype=ext4 rw init=/init devtmpfs.mount=1"
CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
RESULT_DEVICES = {"x86_64": "/dev/ttyS1", "aarch64": "/dev/ttyS0"}
# What a healthy kernel never says.
_SPLAT = re.compile(
    r"BUG[: ]|WARNING: |Oops|general protection|Kernel panic|soft lockup|detected stalls|self-detected stall"
    r"|detected expedited stalls|blocked for more than|Unable to handle kernel|Internal error:|refcount_t:|UBSAN:|KASAN:"
    r"|list_(?:add|del) corruption"
)
# Bits of /proc/sys/kernel/tainted (Documentation/admin-guide/tainted-kernels.rst): what a log may have lost.
TAINTS = {5: "bad page", 7: "died: an oops or a BUG", 9: "a warning", 14: "a soft lockup"}


class GuestError(Exception):
    """A guest that did not bring its results back: it hung, or its kernel crashed."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What QEMU is told of a guest. Its root is in memory, or on a disk."""

    arch: str
    image: Path
    initramfs: Path | None = None
    disk: Path | None = None
    memory_mib: int = 1024
    processors: int = 2
    command_line: str = ""
    options: tuple[str, ...] = ()


def boot(machine: Machine, directory: Path, deadline_seconds: float) -> dict[str, bytes]:
    """Boot, wait for the end, return the files that the guest sent. Raises GuestError."""
    console, results = directory / "console.txt", directory / "results.txt"
    for path in (console, results):
        path.unlink(missing_ok=True)
    process = subprocess.Popen(_command(machine, console, results), stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=deadline_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise GuestError(f"no end within {deadline_seconds:.0f} s; {_last_words(console)}") from None
    if process.returncode:
        raise GuestError(f"QEMU ended with {process.returncode}: {errors.strip()}")
    return _files(results, console)


def _command(machine: Machine, console: Path, results: Path) -> list[str]:
    arguments = f"console={CONSOLES[machine.arch]} loglevel=1 log_buf_len=16M panic=-1 oops=panic"
    return [
        *_MACHINES[machine.arch],
        *_RESULT_PORTS[machine.arch],
        *_COMMON,
        *("-m", str(machine.memory_mib), "-smp", str(machine.processors)),
        *("-chardev", f"file,id=console,path={console}", "-chardev", f"file,id=results,path={results}"),
        *(
            "-kernel",
            str(machine.image),
            "-append",
            " ".join([arguments, *_root(machine), machine.command_line]),
        ),
        *(("-initrd", str(machine.initramfs)) if machine.initramfs else ()),
        *(
            ("-drive", f"file={machine.disk},if=none,id=disk,format=raw,cache=unsafe", *_DISK)
            if machine.disk
            else ()
        ),
        *machine.options,
    ]


def _root(machine: Machine) -> list[str]:
    return [_ROOT_ON_DISK] if machine.disk else []


def _files(results: Path, console: Path) -> dict[str, bytes]:
    sent, found, _ = results.read_bytes().partition(END) if results.exists() else (b"", b"", b"")
    if not found:
        raise GuestError(f"the guest ended without results; {_last_words(console)}")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(sent)), mode="r:") as archive:
        members = [(member.name.removeprefix("./"), archive.extractfile(member)) for member in archive]
        return {name: file.read() for name, file in members if file}


def splats(text: str) -> list[str]:
    """The lines of a kernel's log that tell of a fault of the kernel."""
    return [line for line in text.splitlines() if _SPLAT.search(line)]


def _last_words(console: Path, lines: int = 30) -> str:
    text = console.read_text(errors="replace") if console.exists() else ""
    return "its console ended with:\n" + "\n".join(text.splitlines()[-lines:])

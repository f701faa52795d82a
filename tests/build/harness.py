"""What the tests of the build share: a small BTF, and the build script run as a person runs it."""

import os
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MAGIC_VERSION_FLAGS = b"\x9f\xeb\x01\x00"
INT, STRUCT = 1, 4


def btf(member: str, name: str = "pt_regs") -> bytes:
    """Make the smallest BTF that describes a struct `name` with the one member `member`, a long."""
    strings = b"\0long\0" + name.encode() + b"\0" + member.encode() + b"\0"
    name_at, member_at = 6, 6 + len(name) + 1
    long = struct.pack("<4I", 1, INT << 24, 8, 1 << 24 | 64)  # signed, 64 bits
    record = struct.pack("<6I", name_at, STRUCT << 24 | 1, 8, member_at, 1, 0)
    types = long + record
    return (
        MAGIC_VERSION_FLAGS
        + struct.pack("<5I", 24, 0, len(types), len(types), len(strings))
        + types
        + strings
    )


X86_BTF = btf("orig_ax")
ARM64_BTF = btf("pstate")


def build_bpf(
    *arguments: str | Path, root: Path = ROOT, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run build_bpf.py of the tree `root`, with another PATH where a test hides the tools."""
    environment = {**os.environ, "PATH": os.environ["PATH"] if path is None else path}
    return subprocess.run(
        [sys.executable, root / "build_bpf.py", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return what a failed run said after `error:` and `hint:`, which are its last two lines."""
    assert done.returncode == 1, done.stderr
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error.removeprefix("error: "), hint.removeprefix("hint: ")

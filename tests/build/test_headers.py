"""`build_bpf.py headers`: a kernel's BTF -> the C header of one architecture."""

import gzip
import lzma
import platform
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import build_bpf as module

from .harness import ARM64_BTF, MAGIC_VERSION_FLAGS, ROOT, X86_BTF, btf, build_bpf, complaint

GUARDS = {"x86": "__VMLINUX_X86_64_H__", "arm64": "__VMLINUX_ARM64_H__"}
SAMPLES = {"x86": X86_BTF, "arm64": ARM64_BTF}
RUNNING = {"x86_64": "x86", "aarch64": "arm64"}
LOADER = b"MZ\x1f\x8b\x08 a loader, with false starts of streams \xfd7zXZ\0 \x02\x21\x4c and of BTF \x9f\xeb\x01\x00"


def guard(header: str) -> str:
    """Return the include guard of a header, after checking that it is tested, defined and closed."""
    found = re.search(r"^#ifndef (\w+)\n#define (\w+)\n", header, re.MULTILINE)
    assert found is not None
    assert found[1] == found[2]
    assert header.rstrip().splitlines()[-1].startswith("#endif")
    return found[1]


@pytest.fixture
def generate(tmp_path: Path):
    """Write bytes to a file, make a header of it, and return the finished run and the header's path."""

    def run(content: bytes, arch: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        image, output = tmp_path / "image", tmp_path / f"{arch}.h"
        image.write_bytes(content)
        return build_bpf("headers", "--arch", arch, "--btf", image, "--output", output), output

    return run


@pytest.mark.parametrize("arch", GUARDS)
def test_committed_header_has_its_own_guard(arch: str) -> None:
    """Each generated header in the tree is guarded by a name of its own architecture."""
    text = (ROOT / f"bpf/headers/vmlinux_generated_{arch}.h").read_text()
    assert guard(text) == GUARDS[arch]
    assert module.architecture_of(text) == arch


def test_committed_headers_come_from_one_kernel_release() -> None:
    """The first line of both headers names the licence and the same release of the same kernel."""
    releases = set()
    for arch in GUARDS:
        with (ROOT / f"bpf/headers/vmlinux_generated_{arch}.h").open() as header:
            first = header.readline()
        assert "SPDX-License-Identifier: GPL-2.0-only" in first
        found = re.search(r"BTF of Debian linux-image-\S+ (\S+) \*/", first)
        assert found is not None
        releases.add(found[1])
    assert len(releases) == 1


def test_header_of_the_running_kernel(tmp_path: Path) -> None:
    """The running kernel's BTF gives a header with the right guard and name, twice the same bytes."""
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF: run it where /sys/kernel/btf/vmlinux exists")
    arch = RUNNING[platform.machine()]
    outputs = [tmp_path / "first.h", tmp_path / "second.h"]
    for output in outputs:
        done = build_bpf("headers", "--arch", arch, "--output", output)
        assert done.returncode == 0, done.stderr
    text = outputs[0].read_text()
    assert text == outputs[1].read_text()
    assert guard(text) == GUARDS[arch]
    assert f"Linux {platform.release()} " in text.splitlines()[0]
    assert "struct task_struct {" in text


def compress(command: str, content: bytes) -> bytes:
    """Compress with a command that not every machine has."""
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed: apt-get install {command}")
    flags = ["-lc"] if command == "lz4" else ["-c"]  # kernels use lz4's legacy frame
    return subprocess.run([command, *flags], input=content, capture_output=True, check=True).stdout


PACKERS = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": lambda content: compress("zstd", content),
    "lz4": lambda content: compress("lz4", content),
}


@pytest.mark.parametrize("arch", GUARDS)
@pytest.mark.parametrize("packer", PACKERS)
def test_header_from_a_kernel_image(packer: str, arch: str, generate) -> None:
    """BTF is found in a kernel image, however it is packed, between a loader and trailing bytes."""
    kernel = b"code" * 999 + b"Linux version 6.1.2-test (gcc)\0" + SAMPLES[arch] + b"\0data" * 99
    done, header = generate(LOADER + PACKERS[packer](kernel) + b"signature", arch)
    assert done.returncode == 0, done.stderr
    assert guard(header.read_text()) == GUARDS[arch]
    assert "BTF of Linux 6.1.2-test */" in header.read_text()


def test_origin_is_in_the_first_line(tmp_path: Path) -> None:
    """--origin names the kernel where the file cannot."""
    (tmp_path / "raw").write_bytes(X86_BTF)
    output = tmp_path / "out.h"
    build_bpf(
        "headers", "--arch", "x86", "--btf", tmp_path / "raw", "--output", output, "--origin", "Acme 1.2"
    )
    assert output.read_text().splitlines()[0].endswith("BTF of Acme 1.2 */")


@pytest.mark.parametrize(("given_arch", "asked"), [("x86", "arm64"), ("arm64", "x86")])
def test_other_architecture_is_refused(given_arch: str, asked: str, generate) -> None:
    """BTF of one architecture never becomes the header of another."""
    done, header = generate(SAMPLES[given_arch], asked)
    error, hint = complaint(done)
    assert f"is for {given_arch}, not for {asked}" in error
    assert hint == f"give the BTF of a kernel built for {asked}"
    assert not header.exists()


def test_btf_without_registers_is_refused(generate) -> None:
    """BTF that is not a kernel's own (a module's, a BPF object's) is refused."""
    done, header = generate(btf("member", name="something"), "x86")
    assert "describes no kernel for a known architecture" in complaint(done)[0]
    assert not header.exists()


@pytest.mark.parametrize("missing", [1, len(X86_BTF) // 2, len(X86_BTF) - 5])
def test_truncated_btf_is_refused(missing: int, generate) -> None:
    """BTF that ends too early is refused as such, and not handed to bpftool."""
    done, header = generate(X86_BTF[:-missing], "x86")
    assert complaint(done)[0].endswith("is truncated or damaged")
    assert not header.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", LOADER, LOADER + X86_BTF[:-1], gzip.compress(b"no kernel")]
)
def test_file_without_btf_is_refused(content: bytes, generate) -> None:
    """A file without complete BTF is refused with a list of what would do."""
    done, header = generate(content, "x86")
    error, hint = complaint(done)
    assert error.startswith("no complete BTF in ")
    assert "vmlinuz" in hint
    assert not header.exists()


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named in the error."""
    error, _ = complaint(build_bpf("headers", "--arch", "x86", "--btf", tmp_path / "nothing"))
    assert error == f"cannot read {tmp_path}/nothing: No such file or directory"


@given(st.binary(), st.sampled_from([b"", MAGIC_VERSION_FLAGS, LOADER]), st.binary())
def test_search_ends_in_btf_or_in_an_error(before: bytes, magic: bytes, after: bytes) -> None:
    """Whatever the bytes are, the search gives a blob that its own header describes, or a build error."""
    try:
        found, _ = module.find_btf(before + magic + after, "bytes")
    except module.BuildError:
        return
    assert module.btf_at(found, 0) == found


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_btf_is_found_between_other_bytes(before: bytes, after: bytes) -> None:
    """The search returns exactly the BTF, whatever surrounds it."""
    assert module.find_btf(b"MZ" + before + X86_BTF + after, "bytes")[0] == X86_BTF


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 5))
def test_lengths_are_not_believed(header: tuple[int, ...]) -> None:
    """A header whose lengths reach beyond the file describes no BTF."""
    blob = MAGIC_VERSION_FLAGS + struct.pack("<5I", *header)
    assert module.btf_at(blob, 0) is None

"""Build everything native: BPF objects, kernel headers, the C source of the libbpf extension.

    python build_bpf.py object    [--arch x86|arm64]     clang -> oomtracer/bpf/oomtracer.<arch>.bpf.o
    python build_bpf.py headers   --arch ARCH [--btf F]  BTF   -> bpf/headers/vmlinux_generated_<arch>.h
    python build_bpf.py extension                        cffi  -> oomtracer/_native.abi3.so, in place

The same file is the PEP 517 backend of this project (see pyproject.toml): it builds the objects and the
extension's source, then leaves the rest to setuptools. Only the standard library is needed to import it.
"""

import argparse
import contextlib
import io
import lzma
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
HEADERS = Path("bpf/headers")
SOURCE = Path("bpf/src/oomtracer.bpf.c")
OBJECTS = Path("oomtracer/bpf")
LIBBPF = Path("oomtracer/libbpf")
NATIVE_SOURCE = Path("build/_native.c")
RUNNING_KERNEL = Path("/sys/kernel/btf/vmlinux")

# the include guard, and the member of struct pt_regs that the other has not
ARCHITECTURES = {
    "x86": ("__VMLINUX_X86_64_H__", "orig_ax"),
    "arm64": ("__VMLINUX_ARM64_H__", "pstate"),
}

# v2 is the newest instruction set that needs nothing of the kernel beyond 4.14, whatever a newer clang's
# default is; with it clang also refuses fetching atomics, which kernels before 5.12 do not have.
CLANG_FLAGS = ["-O2", "-g", "-target", "bpf", "-mcpu=v2", "-Wall", "-Wextra", "-Werror"]
EXTENSION_FLAGS = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
# what cffi's generated wrappers cannot help
EXTENSION_FLAGS += ["-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-sign-compare"]

BTF_MAGIC = b"\x9f\xeb\x01\x00"  # magic, version 1, flags 0; little-endian
BTF_HEADER = struct.Struct("<4s5I")  # magic.., hdr_len, type_off, type_len, str_off, str_len


class BuildError(Exception):
    """A build step that failed: what failed, and what to do next."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"error: {what}\nhint: {hint}")


def run(*command: str | Path, package: str) -> bytes:
    """Run a tool of the Debian package `package` and return what it wrote to its standard output."""
    name, path = str(command[0]), f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    tool = shutil.which(name, path=path)
    if tool is None:
        hint = f"run `make build` as root, or install it: apt-get install {package}"
        raise BuildError(f"{name} is not installed", hint)
    done = subprocess.run([tool, *command[1:]], capture_output=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.stderr.write(done.stderr.decode(errors="replace"))
        raise BuildError(f"{name} failed with exit code {done.returncode}", "its messages are above")
    return done.stdout


def write(path: Path, content: bytes) -> None:
    """Replace `path` in one step, so that an interrupted build never leaves half a file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


# ---------------------------------------------------------------------------------------- objects


def build_object(arch: str) -> Path:
    """Compile the BPF program for one architecture; the bytes depend on sources and compiler alone."""
    target = ROOT / OBJECTS / f"oomtracer.{arch}.bpf.o"
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch, "object.o")
        flags = [*CLANG_FLAGS, f"-D__TARGET_ARCH_{arch}", f"-ffile-prefix-map={ROOT}=."]
        run("clang", *flags, "-I", HEADERS, "-c", SOURCE, "-o", compiled, package="clang")
        run("llvm-strip", "-g", compiled, package="llvm")  # DWARF goes, BTF stays
        write(target, compiled.read_bytes())
    return target


# ---------------------------------------------------------------------------------------- headers


def btf_at(data: bytes, offset: int) -> bytes | None:
    """Return the BTF blob that starts at `offset`, or None if its header does not describe one."""
    if len(data) - offset < BTF_HEADER.size:
        return None
    _, size, types_at, types_size, strings_at, strings_size = BTF_HEADER.unpack_from(data, offset)
    start = offset + size + strings_at
    strings = data[start : start + strings_size]
    sane = size == BTF_HEADER.size and types_at == 0 and 0 < types_size <= strings_at
    if not sane or len(strings) != strings_size or strings[:1] != b"\0" or strings[-1:] != b"\0":
        return None
    return data[offset : start + strings_size]


def offsets(data: bytes, magic: bytes) -> Iterator[int]:
    """Yield every place of `magic` in `data`."""
    at = data.find(magic)
    while at >= 0:
        yield at
        at = data.find(magic, at + 1)


def stream(decompressor: Callable[[], Any]) -> Callable[[bytes], bytes]:
    """Make a function that unpacks a stream, ignores what follows it, and answers b"" to garbage."""

    def unpack(data: bytes) -> bytes:
        try:
            return bytes(decompressor().decompress(data))
        except (zlib.error, lzma.LZMAError):
            return b""

    return unpack


def command(tool: str) -> Callable[[bytes], bytes]:
    """Make a function that unpacks with a command; trailing bytes make it fail after it wrote everything."""

    def unpack(data: bytes) -> bytes:
        run(tool, "--version", package=tool)
        return subprocess.run([tool, "-dcq"], input=data, capture_output=True, check=False).stdout

    return unpack


# in the order in which kernels use them; a kernel image is a small loader followed by one such stream
COMPRESSIONS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"\x28\xb5\x2f\xfd", command("zstd")),
    (b"\x1f\x8b\x08", stream(lambda: zlib.decompressobj(wbits=31))),
    (b"\xfd7zXZ\0", stream(lzma.LZMADecompressor)),
    (b"\x02\x21\x4c\x18", command("lz4")),
]


def layers(image: bytes) -> Iterator[bytes]:
    """Yield the image itself, then everything compressed that can be found in it."""
    yield image
    for magic, unpack in COMPRESSIONS:
        for at in offsets(image, magic):
            yield unpack(image[at:])


def find_btf(image: bytes, name: str) -> tuple[bytes, str]:
    """Return the BTF in a raw BTF file, an ELF file or a kernel image, and the kernel's release or ""."""
    if image.startswith(BTF_MAGIC):
        whole = btf_at(image, 0)
        if whole is None:
            raise BuildError(f"the BTF in {name} is truncated or damaged", "copy the file again")
        return whole, ""
    for layer in layers(image):
        found = [blob for at in offsets(layer, BTF_MAGIC) if (blob := btf_at(layer, at))]
        if found:
            banner = re.search(rb"Linux version (\d[\w.+~-]*)", layer)
            return max(found, key=len), banner[1].decode() if banner else ""
    raise BuildError(
        f"no complete BTF in {name}",
        "give raw BTF (/sys/kernel/btf/vmlinux), or a vmlinux or vmlinuz of a kernel with CONFIG_DEBUG_INFO_BTF",
    )


def architecture_of(header: str) -> str | None:
    """Tell the architecture from the registers that a dumped header's struct pt_regs names."""
    registers = re.search(r"^struct pt_regs \{\n(.*?)^\}", header, re.MULTILINE | re.DOTALL)
    words = set(re.findall(r"\w+", registers[1])) if registers else set()
    return next((arch for arch, (_, member) in ARCHITECTURES.items() if member in words), None)


def generate_header(arch: str, btf: bytes, origin: str) -> bytes:
    """Dump BTF as the C header of `arch`; the same BTF and origin give the same bytes."""
    with tempfile.NamedTemporaryFile() as raw:
        raw.write(btf)
        raw.flush()
        dump = run("bpftool", "btf", "dump", "file", raw.name, "format", "c", package="bpftool").decode()
    found = architecture_of(dump)
    if found != arch:
        what = f"is for {found}, not for {arch}" if found else "describes no kernel for a known architecture"
        raise BuildError(f"the BTF of {origin} {what}", f"give the BTF of a kernel built for {arch}")
    lines = [line.rstrip() for line in dump.replace("__VMLINUX_H__", ARCHITECTURES[arch][0]).splitlines()]
    first = f"/* SPDX-License-Identifier: GPL-2.0-only; generated by build_bpf.py from the BTF of {origin} */"
    return "\n".join([first, *lines, ""]).encode()


def read_image(path: Path) -> bytes:
    """Read the file named on the command line."""
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "name a file with a kernel's BTF: --btf FILE"
        raise BuildError(f"cannot read {path}: {error.strerror}", hint) from error


def build_header(arch: str, path: Path, origin: str | None, output: Path | None) -> Path:
    """Write the header of `arch` from the BTF in a file; `origin` names the kernel in its first line."""
    btf, release = find_btf(read_image(path), str(path))
    release = platform.release() if path == RUNNING_KERNEL else release
    target = output or ROOT / HEADERS / f"vmlinux_generated_{arch}.h"
    write(target, generate_header(arch, btf, origin or (f"Linux {release}" if release else path.name)))
    return target


# ------------------------------------------------------------------- extension and PEP 517 backend


def emit_native() -> None:
    """Write the C source of `oomtracer._native`; oom_event.h is the head of its declarations."""
    from cffi import FFI

    record = run("clang", "-E", "-P", HEADERS / "oom_event.h", package="clang").decode()
    ffi = FFI()
    ffi.cdef(record + (ROOT / LIBBPF / "native.cdef.h").read_text())
    ffi.set_source("oomtracer._native", (ROOT / LIBBPF / "native.c").read_text())
    (ROOT / NATIVE_SOURCE).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
        ffi.emit_c_code(str(ROOT / NATIVE_SOURCE))


def setup(**options: Any) -> None:
    """Call setuptools with what pyproject.toml cannot say: the extension, and the sdist's build inputs."""
    import setuptools

    found = [*Path("bpf").rglob("*"), *Path("release").iterdir(), *LIBBPF.glob("native*.*")]
    inputs = [Path("build_bpf.py"), Path("Makefile"), *sorted(path for path in found if path.is_file())]
    native = setuptools.Extension(
        "oomtracer._native",
        sources=[str(NATIVE_SOURCE)],
        depends=[str(path) for path in inputs],
        include_dirs=[str(HEADERS), str(LIBBPF)],
        libraries=["bpf"],
        define_macros=[("Py_LIMITED_API", "0x030b0000")],
        extra_compile_args=EXTENSION_FLAGS,
        py_limited_api=True,
    )
    wheel = {"py_limited_api": "cp311"}
    setuptools.setup(ext_modules=[native], options={"bdist_wheel": wheel}, **options)


def build_extension() -> None:
    """Build the extension in place, for a development tree."""
    os.chdir(ROOT)
    emit_native()
    setup(script_name="build_bpf.py", script_args=["--quiet", "build_ext", "--inplace"])


def backend() -> Any:
    """Return setuptools' backend with our `setup` in the place of a setup.py."""
    from setuptools import build_meta

    class Backend(build_meta._BuildMetaBackend):  # the documented way to adapt it
        def run_setup(self, setup_script: str = "setup.py") -> None:  # noqa: ARG002 - the name is the interface
            setup()

    return Backend()


def build_native_inputs() -> None:
    """Build what setuptools must find: the objects (package data) and the extension's source."""
    for arch in ARCHITECTURES:
        build_object(arch)
    emit_native()


def build_wheel(*arguments: Any, **keywords: Any) -> str:
    """PEP 517: build the objects, then the wheel."""
    build_native_inputs()
    return str(backend().build_wheel(*arguments, **keywords))


def build_editable(*arguments: Any, **keywords: Any) -> str:
    """PEP 660: build the objects, then the editable wheel."""
    build_native_inputs()
    return str(backend().build_editable(*arguments, **keywords))


def __getattr__(name: str) -> Any:
    """Leave every other hook of PEP 517 and 660 to setuptools, which only they need to be installed."""
    if not name.startswith(("build_sdist", "get_requires_for_build_", "prepare_metadata_for_build_")):
        raise AttributeError(name)
    return getattr(backend(), name)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 fine, 1 failed with `error:` and `hint:`, 2 wrong usage."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    objects = commands.add_parser("object", help="compile the BPF program")
    objects.add_argument("--arch", choices=ARCHITECTURES, help="one architecture only")
    headers = commands.add_parser("headers", help="regenerate vmlinux_generated_<arch>.h")
    headers.add_argument("--arch", choices=ARCHITECTURES, required=True)
    headers.add_argument("--btf", type=Path, default=RUNNING_KERNEL, help="raw BTF, vmlinux or vmlinuz")
    headers.add_argument("--output", type=Path, help="write there instead of into bpf/headers/")
    headers.add_argument("--origin", help="name of the kernel in the first line, if the file has none")
    commands.add_parser("extension", help="build the libbpf extension in place")
    options = parser.parse_args(arguments)
    try:
        if options.command == "object":
            for arch in [options.arch] if options.arch else ARCHITECTURES:
                print(build_object(arch).relative_to(ROOT))
        elif options.command == "headers":
            print(build_header(options.arch, options.btf, options.origin, options.output))
        else:
            build_extension()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

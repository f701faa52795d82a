"""What a shared library asks of the machine it is loaded on."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"\x7fELF"
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}


def read(content: bytes) -> ELFFile:
    """Read an ELF file."""
    return ELFFile(io.BytesIO(content))


def machine(content: bytes) -> str:
    """Return the machine that a file is for, as ELF names it."""
    return str(read(content)["e_machine"])


def needed(content: bytes) -> set[str]:
    """Return the names of the libraries that the loader must find for a file."""
    sections = [each for each in read(content).iter_sections() if isinstance(each, DynamicSection)]
    return {tag.needed for each in sections for tag in each.iter_tags() if tag.entry.d_tag == "DT_NEEDED"}


def glibc_versions(content: bytes) -> set[tuple[int, ...]]:
    """Return the versions of the C library whose symbols a file uses."""
    sections = [each for each in read(content).iter_sections() if isinstance(each, GNUVerNeedSection)]
    names = {aux.name for each in sections for _, used in each.iter_versions() for aux in used}
    found = [re.fullmatch(r"GLIBC_([\d.]+)", name) for name in names]
    return {tuple(int(part) for part in each[1].split(".")) for each in found if each}


def elf_files(root: Path) -> dict[Path, bytes]:
    """Return all programs and libraries below a directory, BPF objects left out."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    contents = ((path, path.read_bytes()) for path in files if not path.name.endswith(".bpf.o"))
    return {path: content for path, content in contents if content.startswith(MAGIC)}


def missing(contents: Iterable[bytes], names: set[str]) -> set[str]:
    """Return what files need and none of the given names is."""
    return set().union(*(needed(content) for content in contents)) - names

"""`build_bpf.py object`: C -> one BPF object per architecture."""

import shutil
from pathlib import Path

import pytest

from .harness import ROOT, build_bpf, complaint

ARCHITECTURES = ("x86", "arm64")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy what an object is made of to another directory."""
    target = tmp_path / "elsewhere" / "tree"
    target.mkdir(parents=True)
    shutil.copy(ROOT / "build_bpf.py", target)
    shutil.copytree(ROOT / "bpf", target / "bpf")
    return target


def objects(root: Path) -> dict[str, bytes]:
    """Build all objects of a tree and return their bytes by file name."""
    done = build_bpf("object", root=root)
    assert done.returncode == 0, done.stderr
    return {name: (root / name).read_bytes() for name in done.stdout.split()}


def test_same_bytes_from_another_directory(tree: Path, tmp_path: Path) -> None:
    """An object depends on its sources and the compiler, not on when or where it is built."""
    first = objects(tree)
    moved = shutil.move(tree, tmp_path / "moved")
    assert objects(Path(moved)) == first
    assert list(first) == [f"oomtracer/bpf/oomtracer.{arch}.bpf.o" for arch in ARCHITECTURES]


def test_object_names_no_build_directory(tree: Path) -> None:
    """An object tells nobody where it was built."""
    assert not [name for name, content in objects(tree).items() if str(tree).encode() in content]


def test_types_stay_and_debug_information_goes(tree: Path) -> None:
    """An object carries the BTF that the loader needs, and no DWARF."""
    for content in objects(tree).values():
        assert b"\0.BTF\0" in content or b".BTF.ext\0" in content
        assert b".debug_info" not in content
        assert content[18:20] == b"\xf7\0"  # e_machine: EM_BPF


def test_architecture_is_chosen(tree: Path) -> None:
    """--arch builds one object and leaves the others alone."""
    assert build_bpf("object", "--arch", "arm64", root=tree).stdout.split() == [
        "oomtracer/bpf/oomtracer.arm64.bpf.o"
    ]
    assert [path.name for path in (tree / "oomtracer/bpf").iterdir()] == ["oomtracer.arm64.bpf.o"]


def test_warning_is_an_error(tree: Path) -> None:
    """What clang warns about fails the build, shows clang's words and leaves no object behind."""
    with (tree / "bpf/src/oomtracer.bpf.c").open("a") as source:
        source.write("static int nobody_calls_this(void) { return 0; }\n")
    done = build_bpf("object", root=tree)
    assert complaint(done)[0] == "clang failed with exit code 1"
    assert "nobody_calls_this" in done.stderr
    assert not (tree / "oomtracer/bpf").exists()


def test_missing_clang_is_explained(tmp_path: Path) -> None:
    """Without clang the build says so, and which command installs it."""
    error, hint = complaint(build_bpf("object", path=str(tmp_path)))
    assert error == "clang is not installed"
    assert "make build" in hint
    assert "apt-get install clang" in hint


def test_unknown_architecture_is_wrong_usage() -> None:
    """An architecture that nobody builds for is wrong usage: exit code 2."""
    assert build_bpf("object", "--arch", "vax").returncode == 2

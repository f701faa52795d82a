from __future__ import annotations

from pathlib import Path

import pytest

from oomtracer.errors import UnsupportedError
from oomtracer.kernel import facts

_TMPFS = "25 30 0:22 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:9 - tmpfs tmpfs rw,mode=755"
_ROOT = "30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro"
_PROC = "22 30 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw"
_V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate"
_BESIDE = "26 25 0:23 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate"
_CPU = "27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:11 - cgroup cgroup rw,cpu,cpuacct"
_SYSTEMD = "28 25 0:25 / /sys/fs/cgroup/systemd rw,relatime shared:12 - cgroup cgroup rw,xattr,name=systemd"
_MEMORY = "29 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:13 - cgroup cgroup rw,memory"
_MEMORY_CPU = "29 25 0:26 / /cgroups/all rw,relatime - cgroup cgroup rw,cpuset,cpu,memory,devices"
_CONTAINER_V1 = (
    "812 805 0:26 /docker/d6701 /sys/fs/cgroup/memory ro,relatime master:13 - cgroup cgroup rw,memory"
)
_CONTAINER_V2 = "812 805 0:30 /../../.. /sys/fs/cgroup ro,relatime - cgroup2 cgroup rw,nsdelegate"
_NO_SOURCE = "90 30 0:44 / /mnt rw,relatime - tmpfs  rw"
_NOT_UTF8 = b"91 30 0:45 / /mnt/\xff\\040x rw - fuse.memory some rw,user_id=0"


def proc(tmp_path: Path, *lines: str | bytes) -> Path:
    """Write a /proc with these mounts."""
    (tmp_path / "self").mkdir()
    text = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\n"
    (tmp_path / "self/mountinfo").write_bytes(text)
    return tmp_path


LAYOUTS = {
    "v2": ([_ROOT, _PROC, _V2], "/sys/fs/cgroup", "v2"),
    "v1": ([_ROOT, _TMPFS, _CPU, _SYSTEMD, _MEMORY], "/sys/fs/cgroup/memory", "v1"),
    "v1, controllers together": ([_ROOT, _MEMORY_CPU], "/cgroups/all", "v1"),
    "hybrid": ([_ROOT, _TMPFS, _BESIDE, _CPU, _SYSTEMD, _MEMORY], "/sys/fs/cgroup/memory", "hybrid"),
    "v2 beside v1 without memory": ([_TMPFS, _BESIDE, _CPU, _SYSTEMD], "/sys/fs/cgroup/unified", "v2"),
    "container on v1": ([_ROOT, _CONTAINER_V1], "/sys/fs/cgroup/memory", "v1"),
    "container on v2, cgroup namespace": ([_ROOT, _CONTAINER_V2], "/sys/fs/cgroup", "v2"),
    "mounted twice": ([_V2, _V2.replace("/sys/fs/cgroup", "/host/cgroup")], "/sys/fs/cgroup", "v2"),
    "none": ([_ROOT, _PROC], ".", "none"),
    "v1 without memory": ([_ROOT, _TMPFS, _CPU, _SYSTEMD], ".", "none"),
    "odd lines": ([_NO_SOURCE, _NOT_UTF8, _V2], "/sys/fs/cgroup", "v2"),
}


@pytest.mark.parametrize(("lines", "path", "version"), LAYOUTS.values(), ids=LAYOUTS)
def test_where_the_memory_controller_is_mounted(tmp_path, lines, path, version):
    """The memory controller's own hierarchy and the kind of layout are read from the mounts alone."""
    assert facts.memory_cgroup_mount(proc(tmp_path, *lines)) == (Path(path), version)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [("0\n", 1), ("0-1\n", 2), ("0,2-3\n", 3), ("1\n", 1), ("0-7,16-23\n", 16), ("\n", 1), ("", 1)],
)
def test_memory_nodes_are_counted(tmp_path, text, nodes):
    """A list of numbers and ranges is that many nodes; an empty one is the single node there must be."""
    path = tmp_path / "devices/system/node"
    path.mkdir(parents=True)
    (path / "has_memory").write_text(text)
    assert facts.memory_nodes(tmp_path) == nodes


def test_a_kernel_without_numa_has_one_memory_node(tmp_path):
    """A kernel that lists no nodes has one; where /sys is not there, the number is unknown."""
    assert facts.memory_nodes(tmp_path) is None
    (tmp_path / "devices/system/cpu").mkdir(parents=True)
    assert facts.memory_nodes(tmp_path) == 1


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("none integrity\n", None),
        ("", None),
    ],
)
def test_the_lockdown_mode_is_the_word_in_brackets(tmp_path, text, mode):
    """The mode in force is marked; where none is, it is unknown."""
    path = tmp_path / "kernel/security"
    path.mkdir(parents=True)
    (path / "lockdown").write_text(text)
    assert facts.lockdown(tmp_path) == mode


def test_a_kernel_without_lockdown_has_no_mode(tmp_path):
    """Not built in, or securityfs not mounted: unknown."""
    assert facts.lockdown(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("nr_free_pages 1\noom_kill 17\nswap_ra 0\n", 17),
        ("oom_kill 0\n", 0),
        ("oom_killer 3\nnr_oom_kill 4\n", None),
    ],
)
def test_the_kernels_own_count(tmp_path, text, kills):
    """The line of exactly that name is the count; an old kernel has none."""
    (tmp_path / "vmstat").write_text(text)
    assert facts.oom_kills_since_boot(tmp_path) == kills


def test_the_boot_id_comes_without_its_line_end(tmp_path):
    """The id is part of every report's id."""
    path = tmp_path / "sys/kernel/random"
    path.mkdir(parents=True)
    (path / "boot_id").write_text("0f3b8f0e-5b0c-4b8e-9d55-4a4b5a0d7a11\n")
    assert facts.boot_id(tmp_path) == "0f3b8f0e-5b0c-4b8e-9d55-4a4b5a0d7a11"


def test_without_proc_it_says_so(tmp_path):
    """A /proc that is not mounted is an error with a hint; the kernel's own count is then unknown."""
    for question in (facts.boot_id, facts.memory_cgroup_mount):
        with pytest.raises(UnsupportedError, match="ENOENT") as caught:
            question(tmp_path)
        assert caught.value.hint == "mount proc on /proc"
    assert facts.oom_kills_since_boot(tmp_path) is None

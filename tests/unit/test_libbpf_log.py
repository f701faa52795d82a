from __future__ import annotations

import logging

import pytest

from oomtracer.libbpf import BpfObject, LoadError
from oomtracer.libbpf.log import captured_log, refused_program, telling_line

_STATISTICS = (
    "processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0"
)
_RELOCATIONS = """\
libbpf: loading object 'oomtracer.x86.bpf.o' from buffer
libbpf: sec '?tp_btf/mark_victim': found 101 CO-RE relocations
libbpf: prog 'mark_victim_task': relo #98: patched insn #1040 (ALU/ALU64) imm 16 -> 16
libbpf: prog 'mark_victim_task': relo #43: substituting insn #415 w/ invalid insn
"""


def refused(verifier: str, number: str = "Permission denied", program: str = "mark_victim_task") -> str:
    """Wrap a verifier log as libbpf prints it."""
    return f"""\
{_RELOCATIONS}libbpf: prog '{program}': BPF program load failed: {number}
libbpf: prog '{program}': -- BEGIN PROG LOAD LOG --
{verifier}
{_STATISTICS}
-- END PROG LOAD LOG --
libbpf: prog '{program}': failed to load: -13
libbpf: failed to load object 'oomtracer.x86.bpf.o'
"""


_BAD_CONTEXT = refused(
    """\
reg type unsupported for arg#0 function mark_victim_task#22
0: R1=ctx(off=0,imm=0) R10=fp0
; int BPF_PROG(mark_victim_task, struct task_struct *task)
0: (79) r6 = *(u64 *)(r1 +8)
func 'mark_victim' doesn't have 2-th argument
invalid bpf_context access off=8 size=8"""
)
_UNKNOWN_HELPER = refused(
    """\
0: R1=ctx() R10=fp0
; event->boot_time_ns = bpf_ktime_get_boot_ns(); @ oomtracer.bpf.c:120
41: (85) call bpf_ktime_get_boot_ns#125
invalid func bpf_ktime_get_boot_ns#125
verification time 412 usec
stack depth 0+56""",
    "Invalid argument",
)
_POISONED = refused(
    """\
0: R1=ctx(off=0,imm=0) R10=fp0
; parent = BPF_CORE_READ(kn, parent);
77: <invalid CO-RE relocation>
failed to resolve CO-RE relocation <byte_off> [532] struct kernfs_node.parent (0:0 @ offset 0)""",
    "Invalid argument",
)
_TOO_LARGE = refused(
    """\
from 910 to 915: R0=scalar() R6=trusted_ptr_task_struct(off=0,imm=0)
; for (i = 0; i < SKIP_MAX && i < skip; i++)
915: (55) if r1 != 0x0 goto pc-12
BPF program is too large. Processed 1000001 insn
verification time 1812345 usec
stack depth 472""",
    "Argument list too long",
)
_BOUNDS = refused(
    """\
1203: (7b) *(u64 *)(r9 +3520) = r1
 R1_w=0 R9_w=alloc_mem(id=5,ref_obj_id=5,off=0,imm=0)
invalid access to memory, mem_size=3520 off=3520 size=8
R9 min value is outside of the allowed memory range"""
)
_NO_LOADING = """\
libbpf: Failed to bump RLIMIT_MEMLOCK (err = -1), you might need to do it explicitly!
libbpf: Error in bpf_object__probe_loading():Operation not permitted(1). Couldn't load trivial BPF program.
libbpf: failed to load object 'oomtracer.x86.bpf.o'
"""
_ATTACH = """\
libbpf: prog 'mark_victim_task': failed to attach: Device or resource busy
"""
_NO_LOG = f"""\
{_RELOCATIONS}libbpf: prog 'mark_victim_task': BPF program load failed: Operation not permitted
libbpf: permission error while running as root; try raising 'ulimit -l'? current value: 8.0 MiB
libbpf: prog 'mark_victim_task': failed to load: -1
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (_BAD_CONTEXT, "invalid bpf_context access off=8 size=8"),
        (_UNKNOWN_HELPER, "invalid func bpf_ktime_get_boot_ns#125"),
        (
            _POISONED,
            "failed to resolve CO-RE relocation <byte_off> [532] struct kernfs_node.parent (0:0 @ offset 0)",
        ),
        (_TOO_LARGE, "BPF program is too large. Processed 1000001 insn"),
        (_BOUNDS, "R9 min value is outside of the allowed memory range"),
        (_BOUNDS + _POISONED, telling_line(_POISONED)),
        (
            _NO_LOADING,
            "Error in bpf_object__probe_loading():Operation not permitted(1). Couldn't load trivial BPF program.",
        ),
        (_ATTACH, "prog 'mark_victim_task': failed to attach: Device or resource busy"),
        ("libbpf: elf: failed to open x.bpf.o: No such file or directory", None),
        ("libbpf: loaded kernel BTF from '/sys/kernel/btf/vmlinux'\n", ""),
        ("", ""),
        ("libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n", ""),
    ],
    ids=[
        *(
            "context",
            "helper",
            "poisoned",
            "too large",
            "bounds",
            "the last program's",
            "trivial program",
            "attach",
        ),
        *("open", "nothing wrong", "empty", "empty verifier log"),
    ],
)
def test_the_telling_line(log, line):
    """The verifier's last word on the last program, else libbpf's first complaint, else nothing."""
    expected = log.removeprefix("libbpf: ") if line is None else line or None
    assert telling_line(log) == expected


def test_what_libbpf_does_on_every_kernel_is_no_reason():
    """Instructions poisoned for fields that this kernel lacks are ordinary; the refusal is the reason."""
    expected = "prog 'mark_victim_task': BPF program load failed: Operation not permitted"
    assert telling_line(_NO_LOG) == expected


def test_a_failure_is_told_with_its_file_and_errno(tmp_path, caplog):
    """An object that is none is a LoadError with errno, reason and libbpf's whole log; all on debug level."""
    path = tmp_path / "broken.bpf.o"
    path.write_bytes(b"not an ELF file")
    with caplog.at_level(logging.DEBUG, "oomtracer.libbpf"), pytest.raises(LoadError) as caught:
        BpfObject(path)
    assert caught.value.message.startswith("cannot open broken.bpf.o: ")
    assert caught.value.number > 0
    assert "libbpf: " in caught.value.log
    assert caught.value.exit_code == 3
    assert caplog.records
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_a_missing_object_is_enoent(tmp_path):
    """The errno's name is in the message."""
    with pytest.raises(LoadError, match=r"cannot open none\.bpf\.o: ENOENT"):
        BpfObject(tmp_path / "none.bpf.o")


def test_captures_nest_and_keep_the_newest(tmp_path):
    """The inner capture gets what is printed inside; only the last messages are kept."""
    with captured_log(calls=1) as outer:
        for _ in range(3):
            with pytest.raises(LoadError) as caught:
                BpfObject(tmp_path / "none.bpf.o")
            assert "none.bpf.o" in caught.value.log
    assert len(outer) == 0


_NO_FUNCTION = """\
libbpf: failed to find BTF for 'out_of_memory' in vmlinux
libbpf: prog 'out_of_memory_fentry': failed to find kernel BTF type ID of 'out_of_memory': -3
libbpf: prog 'out_of_memory_fentry': failed to prepare load attributes: -3
libbpf: prog 'out_of_memory_fentry': failed to load: -3
libbpf: failed to load object 'oomtracer.x86.bpf.o'
"""
_NO_MEMORY = """\
libbpf: map 'events': failed to create: Cannot allocate memory(-12)
libbpf: failed to load object 'oomtracer.x86.bpf.o'
"""


@pytest.mark.parametrize(
    ("log", "program"),
    [
        (_BAD_CONTEXT, "mark_victim_task"),
        (refused("", program="out_of_memory_kprobe"), "out_of_memory_kprobe"),
        (_NO_FUNCTION, "out_of_memory_fentry"),
        (_NO_MEMORY, None),
        (_RELOCATIONS, None),
        ("", None),
    ],
)
def test_the_program_that_was_refused_is_named(log, program):
    """Where libbpf says which program failed that one is told; a relocation of another is no failure."""
    assert refused_program(log) == program

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kernel.symbols import KernelSymbols

from .builders import examples

KALLSYMS = b"""\
0000000000000000 A fixed_percpu_data
0000000000000500 A cpu_debug_store
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81200000 t __pfx_oom_kill_process
ffffffff81200010 t oom_kill_process
ffffffff81200400 T out_of_memory
ffffffff81200400 W weak_alias
ffffffff81200800 D some_data
ffffffff81200900 w weak_function
ffffffff82000000 R rodata
ffffffffc0a01000 t late_function\t[late]
ffffffffc0a00000 t early_function\t[early]
ffffffffc0a00800 T exported\t[early]
ffffffffc0a02000 t bpf_prog_6deef7357e7b4530_x\t[bpf]
"""


def load(tmp_path, text: bytes) -> KernelSymbols:
    """Read symbols from a file of this text."""
    path = tmp_path / "kallsyms"
    path.write_bytes(text)
    return KernelSymbols.load(path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81200010, "oom_kill_process+0x0"),
        (0xFFFFFFFF8120011B, "oom_kill_process+0x10b"),
        (0xFFFFFFFF812003FF, "oom_kill_process+0x3ef"),
        (0xFFFFFFFF812004F4, "weak_alias+0xf4"),
        (0xFFFFFFFF81200902, "weak_function+0x2"),
        (0xFFFFFFFFC0A00010, "early_function+0x10"),
        (0xFFFFFFFFC0A00801, "exported+0x1"),
        (0xFFFFFFFFC0A01001, "late_function+0x1"),
        (0xFFFFFFFFC0A02003, "bpf_prog_6deef7357e7b4530_x+0x3"),
        (0xFFFFFFFF80FFFFFF, None),
        (0x500, None),
        (0, None),
        (0xFFFFFFFFFFFFFFFF, None),
    ],
)
def test_an_address_is_in_the_last_function_that_starts_before_it(tmp_path, address, name):
    """Data and padding are no functions; modules in any order are found; the ends are nowhere."""
    assert load(tmp_path, KALLSYMS).name(address) == name


def test_far_behind_a_function_is_nowhere(tmp_path):
    """Beyond 1 MiB behind the last function before it, an address belongs to none."""
    symbols = load(tmp_path, b"ffffffff81000000 T last\n")
    assert symbols.name(0xFFFFFFFF81100000) == "last+0x100000"
    assert symbols.name(0xFFFFFFFF81100001) is None


@pytest.mark.parametrize("text", [b"", b"0000000000000000 T _text\n0000000000000000 t oom_kill_process\n"])
def test_hidden_addresses_are_no_symbols(tmp_path, text):
    """All zero, as without CAP_SYSLOG, is as good as none."""
    symbols = load(tmp_path, text)
    assert len(symbols) == 0
    assert symbols.name(0xFFFFFFFF81200010) is None


def test_a_missing_file_is_no_error(tmp_path):
    """A kernel without kallsyms has no symbols."""
    assert len(KernelSymbols.load(tmp_path / "none")) == 0


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\n", b"x\n", b"ffffffff81000000\n", b"ffffffff81000000 T\n", b"zzzz T name\n"),
        *(
            b"-1 T name\n",
            b"10000000000000000 T name\n",
            b"0x T name\n",
            b"\xff\xff T name\n",
            b"T T T T T\n",
        ),
    ],
)
def test_a_malformed_line_costs_itself(tmp_path, line):
    """A line that is none is passed over; those around it count."""
    symbols = load(tmp_path, b"ffffffff81000000 T first\n" + line + b"\nffffffff81000100 T second\n")
    assert symbols.name(0xFFFFFFFF81000001) == "first+0x1"
    assert symbols.name(0xFFFFFFFF81000101) == "second+0x1"


@given(st.lists(st.binary(max_size=40) | st.sampled_from(KALLSYMS.splitlines()), max_size=20))
@examples(200)
def test_any_file_can_be_read(tmp_path_factory, lines):
    """Whatever the file holds, reading it and asking it raises nothing."""
    path = tmp_path_factory.getbasetemp() / "kallsyms"
    path.write_bytes(b"\n".join(lines))
    symbols = KernelSymbols.load(path)
    for address in (0, 0x500, 0xFFFFFFFF81200011, 2**64 - 1):
        symbols.name(address)


@given(st.lists(st.integers(1, 5000), min_size=1, unique=True), st.integers(0, 6000))
@examples(300)
def test_the_order_of_the_symbols_does_not_matter(addresses, wanted):
    """In any order of its lines the table answers like a plain search."""
    symbols = KernelSymbols((address, b"f%d" % address) for address in addresses)
    before = [address for address in addresses if address <= wanted]
    assert symbols.name(wanted) == (f"f{max(before)}+{wanted - max(before):#x}" if before else None)
    assert len(symbols) == len(addresses)

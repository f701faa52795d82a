from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.config import Config, OnUnsupported, OutputFormat, parse_ring_size, parse_size
from oomtracer.errors import UsageError

from .builders import examples


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("1048576B", 1 << 20),
        ("512KiB", 512 << 10),
        ("512kb", 512 << 10),
        ("1M", 1 << 20),
        ("1 MiB", 1 << 20),
        (" 2G ", 2 << 30),
        ("1gib", 1 << 30),
    ],
)
def test_sizes(text, size):
    """Units are powers of 1,024, whatever their spelling."""
    assert parse_size(text, flag="--x") == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+1",
        "1.5M",
        "1e6",
        "0x10",
        "1TiB",
        "MiB",
        "1 M iB",
        "1MiBB",
        "1_000",
        "٣",
        "1\u212a",
        "1M\u0131B",
        "9" * 13,
        "1\n2",
    ],
)
def test_what_is_no_size(text):
    """Anything else is refused, with the flag, the text and an example."""
    with pytest.raises(UsageError) as caught:
        parse_size(text, flag="--ring-size")
    assert caught.value.message.startswith("--ring-size: ")
    assert caught.value.hint == "write --ring-size=1MiB, 512KiB or 1048576"


@given(st.text(max_size=20))
@examples(300)
def test_any_text_is_a_size_or_a_usage_error(text):
    """Nothing else comes out, and the message is one short printable line."""
    try:
        parse_size(text, flag="--x")
    except UsageError as error:
        message = error.message
    else:
        message = ""
    assert message.isprintable()
    assert len(message) < 300


@given(
    st.integers(0, 10**11), st.sampled_from(["", "B", "K", "KB", "KiB", "M", "MB", "MiB", "G", "GB", "GiB"])
)
@examples(200)
def test_a_number_and_its_unit_multiply(number, unit):
    """The size is the number times its unit's power of 1,024."""
    power = {"B": 0, "K": 1, "M": 2, "G": 3}[unit[:1] or "B"]
    assert parse_size(f"{number}{unit}", flag="--x") == number * 1024**power


@pytest.mark.parametrize("exponent", range(13, 31))
def test_ring_sizes_are_powers_of_two_of_whole_pages(exponent):
    """From 8 KiB (the largest record) and one page to 1 GiB each power of two is taken."""
    if 1 << exponent >= mmap.PAGESIZE:
        assert parse_ring_size(str(1 << exponent)) == 1 << exponent


@pytest.mark.parametrize("text", ["0", "1", "2048", "4095", "4097", "3MiB", "2GiB", "1000000"])
def test_other_ring_sizes_are_refused(text):
    """What the kernel would refuse is a usage error with the bounds in it."""
    with pytest.raises(UsageError, match="not a power of two from") as caught:
        parse_ring_size(text)
    assert caught.value.exit_code == 2
    assert "1MiB" in caught.value.hint


def test_a_long_text_is_not_repeated_whole():
    """An error line stays a line."""
    with pytest.raises(UsageError) as caught:
        parse_ring_size("x" * 10_000)
    assert len(caught.value.message) < 200


def test_the_defaults_leave_nothing_on():
    """The bare command serves nothing, exits where it cannot trace, and rings hold 1 MiB."""
    config = Config(node_name="n")
    assert (config.output, config.on_unsupported) == (OutputFormat.AUTO, OnUnsupported.EXIT)
    assert (config.metrics_bind_address, config.ring_size_bytes) == (None, 1 << 20)

from __future__ import annotations

import resource

import pytest

from oomtracer.kernel import privileges
from oomtracer.kernel.privileges import Capability, effective_capabilities, lower_oom_score, may_lock_memory

EVERYTHING = frozenset(Capability)


def bits(*capabilities: Capability) -> str:
    """Write the mask as the kernel does."""
    return f"{sum(1 << capability for capability in capabilities):016x}"


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("0000000000000000", frozenset()),
        ("000001ffffffffff", EVERYTHING),
        (bits(Capability.BPF, Capability.PERFMON), {Capability.BPF, Capability.PERFMON}),
        (
            bits(Capability.SYS_ADMIN),
            {Capability.SYS_ADMIN, Capability.BPF, Capability.PERFMON},
        ),
        ("00000000a80425fb", frozenset()),  # an ordinary container's
    ],
)
def test_effective_capabilities(tmp_path, mask, expected):
    """The effective mask is read, not the permitted one; CAP_SYS_ADMIN stands for BPF and PERFMON."""
    (tmp_path / "self").mkdir()
    lines = f"Name:\tx\nCapInh:\tffffffffffffffff\nCapPrm:\tffffffffffffffff\nCapEff:\t{mask}\n"
    (tmp_path / "self/status").write_text(lines)
    assert effective_capabilities(tmp_path) == expected


@pytest.mark.parametrize(
    ("capabilities", "limit", "may"),
    [
        (frozenset(), 8 << 20, False),
        (frozenset(), resource.RLIM_INFINITY, True),
        (frozenset({Capability.IPC_LOCK}), 8 << 20, True),
    ],
)
def test_memory_may_be_locked_where_no_later_allocation_can_fail_for_it(
    monkeypatch, capabilities, limit, may
):
    """Only the capability, or no limit at all, makes locking safe."""
    monkeypatch.setattr(privileges.resource, "getrlimit", lambda _: (limit, limit))
    assert may_lock_memory(capabilities) is may


def test_the_oom_score_is_lowered_or_not(tmp_path):
    """Where the file takes the number it worked; where it does not, that is no error."""
    assert not lower_oom_score(-999, tmp_path)
    (tmp_path / "self").mkdir()
    assert lower_oom_score(-999, tmp_path)
    assert (tmp_path / "self/oom_score_adj").read_text() == "-999"

from __future__ import annotations

import errno

import pytest

from oomtracer.errors import UnsupportedError, errno_name
from oomtracer.kernel.privileges import Capability
from oomtracer.libbpf import LoadError
from oomtracer.tracer import explain


def hint(monkeypatch, number: int, lockdown: str | None = None) -> str:
    """Explain a refusal on a machine in this lockdown mode."""
    monkeypatch.setattr(explain.facts, "lockdown", lambda: lockdown)
    error = LoadError("cannot load x", number=number, log="")
    assert explain.explained(error) is error
    return error.hint


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "seccomp"),
        (errno.ENOMEM, "--ring-size"),
        (errno.E2BIG, "--ring-size"),
        (errno.EINVAL, "--log-level debug"),
        (errno.EACCES, "--log-level debug"),
    ],
)
def test_each_refusal_has_a_hint(monkeypatch, number, words):
    """What to do next depends on the errno."""
    assert words in hint(monkeypatch, number)
    assert words in hint(monkeypatch, number, "integrity")


def test_lockdown_explains_whatever_the_errno_is(monkeypatch):
    """In confidentiality mode that is the first thing to change."""
    for number in (errno.EPERM, errno.EINVAL):
        assert "lockdown=integrity" in hint(monkeypatch, number, "confidentiality")


@pytest.mark.parametrize(
    ("have", "message"),
    [
        (set(), "cannot load BPF programs without CAP_BPF and CAP_PERFMON"),
        ({Capability.BPF}, "cannot load BPF programs without CAP_PERFMON"),
        ({Capability.PERFMON, Capability.SYSLOG}, "cannot load BPF programs without CAP_BPF"),
    ],
)
def test_missing_capabilities_are_named_before_any_attempt(monkeypatch, have, message):
    """The error names exactly what is missing, and how to grant it."""
    monkeypatch.setattr(explain, "effective_capabilities", lambda: frozenset(have))
    with pytest.raises(UnsupportedError) as caught:
        explain.require_privileges()
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == (message, explain.GRANT, 3)


def test_two_capabilities_are_enough(monkeypatch):
    """Neither root nor CAP_SYS_ADMIN is asked for."""
    monkeypatch.setattr(explain, "effective_capabilities", lambda: frozenset(explain.NEEDED))
    explain.require_privileges()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOENT, "ENOENT (No such file or directory)"),
        (524, "ENOTSUPP (Operation is not supported)"),
        (530, "errno 530 (Unknown error 530)"),
    ],
)
def test_errno_names(number, text):
    """A number is told by its name; so is the kernel's own for what an architecture lacks; others that libc does not know stay numbers."""
    assert errno_name(number) == text

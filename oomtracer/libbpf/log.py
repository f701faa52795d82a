"""libbpf's own log, routed into ``logging`` and kept for the explanation of a failure."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oomtracer._native import ffi, lib

if TYPE_CHECKING:
    from oomtracer._native import CData

logger = logging.getLogger("oomtracer.libbpf")

_captured: deque[str] | None = None


@ffi.def_extern(name="oomtracer_log")
def _log(_level: int, text: CData) -> None:
    # Debug level whatever libbpf thinks of it: what matters of a failure is told by the error it leads to.
    line = ffi.string(text).decode("utf-8", "replace")
    if _captured is not None:
        _captured.append(line)
    if logger.isEnabledFor(logging.DEBUG):
        for each in line.splitlines():
            logger.debug("%s", each)


lib.oomtracer_capture_log()


@contextmanager
def captured_log(*, calls: int = 200) -> Iterator[deque[str]]:
    """Collect what libbpf prints inside the block: its last ``calls`` messages, newest last."""
    global _captured  # noqa: PLW0603 - libbpf has one print function for the whole process
    previous, _captured = _captured, deque(maxlen=calls)
    try:
        yield _captured
    finally:
        _captured = previous


def telling_line(log: str) -> str | None:
    """The line of a verifier log (or of libbpf's messages) that says why a program was refused.

    The verifier ends its log with the refusal and a line of statistics; libbpf wraps it into markers.
    """
    lines = [line.strip() for line in log.splitlines()]
    inside, verifier = False, list[str]()
    for line in lines:
        if "BEGIN PROG LOAD LOG" in line:
            inside, verifier = True, []
        elif "END PROG LOAD LOG" in line:
            inside = False
        elif inside and line and not _is_noise(line):
            verifier.append(line)
    if verifier:
        return verifier[-1]
    warnings = [line.removeprefix("libbpf: ") for line in lines if _is_failure(line)]
    return warnings[0] if warnings else None


def refused_program(log: str) -> str | None:
    """The program that a load failed on, where libbpf's messages name one."""
    names = re.findall(r"^libbpf: prog '(\w+)': (?:BPF program load failed|failed to )", log, re.MULTILINE)
    return names[-1] if names else None


def _is_noise(line: str) -> bool:
    return line.startswith(("processed ", "verification time", "stack depth", "peak_states", ";"))


def _is_failure(line: str) -> bool:
    # Poisoned instructions behind bpf_core_field_exists() are ordinary.
    return "substituting insn" not in line and any(
        word in line for word in ("failed", "Error", "can't", "couldn't", "not found", "invalid")
    )

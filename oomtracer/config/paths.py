"""Directories that flags name."""

from __future__ import annotations

import os
from pathlib import Path

from oomtracer.errors import UsageError

DEFAULT_PIN_PATH = "/sys/fs/bpf/oomtracer"
DEFAULT_STATE_DIR = "/var/lib/oomtracer"


def parse_directory(text: str, *, flag: str) -> Path | None:
    """An absolute path; None for an empty text. Raises UsageError for what can be no directory of ours."""
    if not text:
        return None
    if "\0" in text or not _is_utf8(text):
        raise UsageError(f"{flag}: a path is UTF-8 without NUL", hint=f"write {flag}=/an/absolute/path")
    path = Path(os.path.abspath(text))  # noqa: PTH100 - resolve() would follow links that are not there yet
    if path == Path("/"):
        raise UsageError(f"{flag}: / is no directory of ours", hint=f"write {flag}=/an/absolute/path")
    return path


def parse_pin_path(text: str, *, flag: str = "--pin-path") -> Path | None:
    """An absolute path; None for an empty text. Raises UsageError.

    No relative one: what is left behind in the kernel has to be found again from anywhere.
    """
    if not text:
        return None
    if not text.startswith("/") or ".." in Path(text).parts:
        raise UsageError(
            f"{flag}: {text[:100]!a} is no absolute path",
            hint=f"write it from the root on, as {flag}={DEFAULT_PIN_PATH}",
        )
    return parse_directory(text, flag=flag)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Directories that are given on the command line."""

from __future__ import annotations

from pathlib import Path

from oomtracer.errors import UsageError


def parse_directory(text: str, *, flag: str) -> Path:
    """An absolute path: what holds it may be removed, and a service starts anywhere. Raises UsageError."""
    if not text.startswith("/") or "\0" in text or ".." in Path(text).parts:
        raise UsageError(
            f"{flag}: {text[:100]!a} is no absolute path",
            hint=f"write it from the root on, as {flag}=/sys/fs/bpf/oomtracer",
        )
    return Path(text)

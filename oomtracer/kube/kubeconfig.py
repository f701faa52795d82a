"""kubeconfig files: found, merged and resolved as kubectl does.

kubernetes_asyncio's own merging differs: there the last ``current-context`` wins, and a user's files are looked
for beside the cluster's file. Its loader is given one context with absolute paths, so that neither matters.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oomtracer.errors import UsageError
from oomtracer.printable import printable

_FILES = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One context of a kubeconfig: the sections of its cluster and its user, their files' paths absolute.

    ``folder`` is the user's file's: a credential plugin's relative path starts there.
    """

    context: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    content: Mapping[str, Any]

    def section(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """The named entry of ``clusters``, ``users`` or ``contexts``, with absolute paths; None if not here."""
        for entry in _list(self.content.get(f"{kind}s"), f"{kind}s", self.path):
            if _mapping(entry, f"{kind}s", self.path).get("name") == name:
                return self._resolved(kind, _mapping(entry.get(kind) or {}, f"{kind} {name!r}", self.path))
        return None

    def names(self, kind: str) -> list[str]:
        entries = _list(self.content.get(f"{kind}s"), f"{kind}s", self.path)
        return [str(_mapping(entry, f"{kind}s", self.path).get("name")) for entry in entries]

    def _resolved(self, kind: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
        resolved = dict(section)
        for key in _FILES.get(kind, ()):
            if resolved.get(key):
                resolved[key] = str(self.path.parent / text(resolved, key, self.path))
        return resolved


def read_kubeconfig(paths: list[Path], context: str | None) -> Access:
    """The context asked for, or the current one, of the merged files: what a file names first counts.

    Of several files, those that don't exist are passed over. Raises UsageError, which shows no content.
    """
    files = [_read(path) for path in paths if len(paths) == 1 or path.exists()]
    name = context or _current_context(files)
    _, wanted = _find(files, "context", name)
    cluster_name, user_name = wanted.get("cluster"), wanted.get("user")
    _, cluster = _find(files, "cluster", cluster_name)
    path, user = _find(files, "user", user_name) if user_name else (files[0].path, {})
    return Access(context=name, cluster=cluster, user=user, folder=path.parent)


def text(section: Mapping[str, Any], key: str, path: Path | None = None) -> str:
    """The value as text, empty if absent. Raises UsageError: a number, a list, ..."""
    value = section.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    where = f" in {printable(str(path))}" if path else ""
    raise UsageError(f"kubeconfig: {key}{where} is no text", hint=f"Put the value of {key} into quotes.")


def flag(section: Mapping[str, Any], key: str) -> bool:
    """The value as yes or no, no if absent. Raises UsageError: ``"no"`` in quotes would mean yes."""
    value = section.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise UsageError(f"kubeconfig: {key} is neither true nor false", hint="Correct the file.")


def binary(section: Mapping[str, Any], key: str) -> bytes | None:
    """The content that ``key-data`` holds in base64, or else the file that ``key`` names; None without both.

    Raises UsageError: no base64, or the file cannot be read.
    """
    data, file = text(section, f"{key}-data"), text(section, key)
    try:
        if data:
            return base64.b64decode(data, validate=True)
        return Path(file).read_bytes() if file else None
    except ValueError:
        raise UsageError(f"kubeconfig: {key}-data is no base64", hint="Correct the file.") from None
    except OSError as error:
        raise UsageError(
            f"kubeconfig: cannot read {key} {printable(file)}: {error.strerror}",
            hint="Check that the file exists and may be read by this user.",
        ) from None


def _current_context(files: list[_File]) -> str:
    for file in files:
        name = text(file.content, "current-context", file.path)
        if name:
            return name
    raise UsageError(
        "the kubeconfig has no current-context", hint=f"Give --context: {_known(files, 'context')}."
    )


def _find(files: list[_File], kind: str, name: object) -> tuple[Path, Mapping[str, Any]]:
    for file in files:
        section = file.section(kind, name) if isinstance(name, str) else None
        if section is not None:
            return file.path, section
    raise UsageError(
        f"the kubeconfig has no {kind} named {printable(repr(name))}", hint=f"It has: {_known(files, kind)}."
    )


def _known(files: list[_File], kind: str) -> str:
    names = [name for file in files for name in file.names(kind)]
    return printable(", ".join(names[:10])) or "none"


def _read(path: Path) -> _File:
    # Imported here: 1 MiB that a pod, with its service account, need not carry.
    import yaml  # noqa: PLC0415

    shown = printable(str(path))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the kubeconfig {shown}: {error.strerror}",
            hint="Check --kubeconfig and $KUBECONFIG.",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the kubeconfig {shown} is no YAML{_line(error)}", hint="Correct the file."
        ) from None
    return _File(path, _mapping({} if content is None else content, "the file", path))


def _line(error: Exception) -> str:
    """Where, but not what: the line may hold a token."""
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}" if mark is not None else ""


def _mapping(value: Any, what: str, path: Path) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise UsageError(
        f"the kubeconfig {printable(str(path))} is broken: {what} should have keys and values",
        hint="Correct the file.",
    )


def _list(value: Any, what: str, path: Path) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise UsageError(
        f"the kubeconfig {printable(str(path))} is broken: {what} should be a list", hint="Correct the file."
    )

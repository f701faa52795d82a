"""Credential plugins of a kubeconfig: a command that prints a token or a client certificate.

kubernetes_asyncio can run them too, but without a bound in time, leaving the command behind when it gives up;
it logs what the command prints, and takes no certificate's expiry into account.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.command import Finished, run_command
from oomtracer.kube.credentials import EXPIRES_EARLY_S, Credential, bearer
from oomtracer.kube.kubeconfig import Access, text
from oomtracer.kube.pem import ClientCertificate
from oomtracer.printable import printable

PLUGIN_S = 30.0
"""What a plugin may take; then it is killed."""

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_CLUSTER_KEYS = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
)
_INSTALL = "Install it, or correct the user's section exec in the kubeconfig."
_SAID_CHARACTERS = 200
_OPAQUE = re.compile(r"(?i:(pass\w*|secret|token|key)\b\s*[=:]?\s*)\S+|[\w+/=.-]{24,}")
# A plugin in trouble may print the very thing that it was asked for.


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """The section ``exec`` of a kubeconfig's user."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    """Beside our own; what the plugin is asked for is in it."""
    version: str
    install_hint: str = ""

    @property
    def name(self) -> str:
        """For messages."""
        return f"the credential plugin {printable(Path(self.command[0]).name)}"


def plugin_of(access: Access) -> Plugin:
    """Read the section. Raises UsageError."""
    section = access.user["exec"]
    if not isinstance(section, dict):
        raise _broken("exec should have keys and values")
    version = text(section, "apiVersion")
    if version not in _VERSIONS:
        raise _broken(f"exec's apiVersion is none of {' and '.join(_VERSIONS)}")
    if section.get("interactiveMode") == "Always":
        raise _broken("the credential plugin needs a terminal")
    request = {"apiVersion": version, "kind": "ExecCredential", "spec": _spec(access, section)}
    return Plugin(
        command=(_command(text(section, "command"), access.folder), *_texts(section.get("args"), "args")),
        environment={**_environment(section.get("env")), "KUBERNETES_EXEC_INFO": json.dumps(request)},
        version=version,
        install_hint=" ".join(printable(text(section, "installHint")).split()),
    )


def check_installed(plugin: Plugin) -> None:
    """Look for the command as running it would. Raises UsageError: it is not there, or may not be run."""
    path = plugin.environment.get("PATH", os.environ.get("PATH"))
    if shutil.which(plugin.command[0], path=path) is None:
        raise UsageError(
            f"{plugin.name} cannot be run: there is no such command", hint=plugin.install_hint or _INSTALL
        )


async def credential_of(plugin: Plugin, *, wall_clock: Callable[[], float] = time.time) -> Credential:
    """Run the plugin. Raises OomTracerError, which holds none of its output and little of what it complained of."""
    try:
        done = await run_command(plugin.command, environment=plugin.environment, timeout_s=PLUGIN_S)
    except TimeoutError:
        raise OomTracerError(
            f"{plugin.name} failed: no end in {PLUGIN_S:g} s", hint="Run it by hand."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its arguments are no text"
        raise OomTracerError(
            f"{plugin.name} cannot be run: {reason}", hint=plugin.install_hint or _INSTALL
        ) from None
    if done.code != 0:
        raise OomTracerError(f"{plugin.name} failed: {_said(done)}", hint="Run it by hand, or log in again.")
    status = _status(plugin, done.output)
    return Credential(
        authorization=_authorization(plugin, status),
        certificate=_certificate(plugin, status),
        good_for_s=_good_for_s(plugin, status.get("expirationTimestamp"), wall_clock()),
    )


def _broken(reason: str) -> UsageError:
    return UsageError(f"the kubeconfig is broken: {reason}", hint="Correct the user's section exec.")


def _spec(access: Access, section: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if section.get("provideClusterInfo"):
        spec["cluster"] = {key: access.cluster[key] for key in _CLUSTER_KEYS if key in access.cluster}
    return spec


def _command(command: str, folder: Path) -> str:
    """A relative path starts at the kubeconfig's folder; a bare name is looked up in PATH."""
    if not command:
        raise _broken("exec has no command")
    return str(folder / command) if "/" in command else command


def _texts(value: object, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _broken(f"exec's {what} should be a list of texts")
    return value


def _environment(value: object) -> dict[str, str]:
    pairs = value if isinstance(value, list) else []
    if not all(isinstance(pair, dict) for pair in pairs) or (value and not pairs):
        raise _broken("exec's env should be a list of names and values")
    return {text(pair, "name"): text(pair, "value") for pair in pairs}


def _said(done: Finished) -> str:
    """The last line of its complaints, fit for a log; what looks like a secret is left out."""
    lines = done.errors.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = _OPAQUE.sub(_hidden, printable(last[: 4 * _SAID_CHARACTERS]))[:_SAID_CHARACTERS]
    return f"exit code {done.code}" + (f": {said}" if said else "")


def _hidden(match: re.Match[str]) -> str:
    return f"{match[1]} ***" if match[1] else "***"


def _status(plugin: Plugin, output: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        answer = None
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, dict) or answer.get("kind") != "ExecCredential":
        raise _wrong(plugin, "no ExecCredential")
    if answer.get("apiVersion") != plugin.version:
        raise _wrong(plugin, f"another version than {plugin.version}")
    if not any(status.get(key) for key in ("token", "clientCertificateData")):
        raise _wrong(plugin, "neither a token nor a certificate")
    return status


def _authorization(plugin: Plugin, status: Mapping[str, Any]) -> str | None:
    token = status.get("token")
    return bearer(str(token), f"the token of {plugin.name}") if token else None


def _certificate(plugin: Plugin, status: Mapping[str, Any]) -> ClientCertificate | None:
    chain, key = status.get("clientCertificateData"), status.get("clientKeyData")
    if not chain:
        return None
    if not isinstance(chain, str) or not isinstance(key, str):
        raise _wrong(plugin, "a certificate without its key")
    return ClientCertificate(chain=chain.encode(), key=key.encode())


def _good_for_s(plugin: Plugin, expiry: object, now_s: float) -> float:
    if expiry is None:
        return float("inf")
    try:
        date = datetime.fromisoformat(str(expiry))
    except ValueError:
        raise _wrong(plugin, "an expirationTimestamp that is no date") from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s - EXPIRES_EARLY_S


def _wrong(plugin: Plugin, what: str) -> OomTracerError:
    return OomTracerError(f"{plugin.name} printed {what}", hint="Run it by hand, or install a newer one.")

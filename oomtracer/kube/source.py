"""Where the configuration of a cluster would be taken from, by kubectl's rules. Imports nothing to speak of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

IN_CLUSTER = "in-cluster"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet puts a pod's token and the cluster's CA certificate."""


def configuration_source(
    kubeconfig: str | None,
    *,
    environ: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> str | None:
    """What a connection would be configured from: kubeconfig files, ``"in-cluster"``, or None: no cluster here.

    Files are a list with colons. In this order: the one asked for, whether it exists or not; those of
    ``$KUBECONFIG`` if one of them exists; without ``$KUBECONFIG``, ``~/.kube/config``; the pod's service account.
    """
    if kubeconfig:
        return kubeconfig
    environment = os.environ if environ is None else environ
    files = environment.get("KUBECONFIG") or _default_file(environment)
    if any(os.path.lexists(path) for path in paths_of(files)):
        return files
    return IN_CLUSTER if _is_pod(environment, service_account) else None


def paths_of(source: str) -> list[Path]:
    """The files of a list with colons."""
    return [Path(path) for path in source.split(":") if path]


def _default_file(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME")
    return str(Path(home, ".kube", "config")) if home else ""


def _is_pod(environment: Mapping[str, str], service_account: Path) -> bool:
    has_address = all(environment.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    return has_address and os.path.lexists(service_account / "token")

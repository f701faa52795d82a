"""From a configuration to a connection."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from yarl import URL

from oomtracer.config.cluster import Cluster
from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.kubeconfig import read_kubeconfig
from oomtracer.kube.lean import Client, kubernetes_client
from oomtracer.kube.login import Login, login_of_context, login_of_pod
from oomtracer.kube.pem import ClientCertificate, pem_files
from oomtracer.kube.server import ApiServer
from oomtracer.kube.source import IN_CLUSTER, SERVICE_ACCOUNT, configuration_source, paths_of
from oomtracer.kube.transport import Transport

logger = logging.getLogger("oomtracer.kube")


async def connect(
    cluster: Cluster,
    *,
    patient: bool = False,
    environ: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> ApiServer:
    """A connection with credentials, not tried yet: the API server may be away.

    The caller closes it. Raises UsageError or OomTracerError, with a hint, about whatever is wrong on this side:
    no configuration, a broken file, an unknown context, unusable certificates, a credential plugin that fails.
    If ``patient``, credentials that take time to obtain (of a plugin, of an OIDC issuer) are left to the first
    request: that they cannot be had now is no error.
    """
    environment = os.environ if environ is None else environ
    source = configuration_source(cluster.kubeconfig, environ=environment, service_account=service_account)
    if source is None:
        raise UsageError("there is no cluster configuration", hint="Give --kubeconfig, or --kubernetes=off.")
    if source == IN_CLUSTER and cluster.context:
        raise UsageError("--context needs a kubeconfig, and there is none", hint="Give --kubeconfig too.")
    client = _client()
    if source == IN_CLUSTER:
        login = login_of_pod(client, environment, service_account)
    else:
        login = await login_of_context(client, read_kubeconfig(paths_of(source), cluster.context))
    return await _opened(client, login, patient=patient)


def _client() -> Client:
    try:
        return kubernetes_client()
    except (ImportError, AttributeError) as error:
        raise OomTracerError(
            f"kubernetes-asyncio cannot be used: {error}",
            hint="Install the version that oomtracer asks for, or give --kubernetes=off.",
        ) from None


async def _opened(client: Client, login: Login, *, patient: bool) -> ApiServer:
    configuration = login.configuration
    url = _web_address(configuration.host, "server")
    if configuration.proxy is not None:
        _web_address(configuration.proxy, "proxy-url")
    if url.scheme == "https" and not configuration.verify_ssl:
        logger.warning("the API server's certificate is not verified: insecure-skip-tls-verify is set")
    # As kubectl, which takes CA certificates that lack the extensions Python 3.13 asks for.
    configuration.disable_strict_ssl_verification = True

    def open_transport(certificate: ClientCertificate | None) -> Transport:
        with pem_files(configuration, login.ca, certificate):
            return Transport(client, configuration)

    server = ApiServer(url, login.credentials, open_transport)
    await server.open(login.held if patient else None)
    return server


def _web_address(value: str, what: str) -> URL:
    """The address; it is not shown if it is wrong, since it may hold a password."""
    try:
        url = URL(value)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise UsageError(
            f"the cluster's {what} is no address that can be used",
            hint="It should look like https://host:port; of proxies, only HTTP ones can be used.",
        )
    return url

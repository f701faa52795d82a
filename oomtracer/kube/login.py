"""Where an API server is and as whom to speak to it: a kubeconfig's context, or a pod's service account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oomtracer.errors import UsageError
from oomtracer.kube.credentials import AGAIN_S, Credential, Credentials, bearer
from oomtracer.kube.exec_plugin import check_installed, credential_of, plugin_of
from oomtracer.kube.kubeconfig import Access, binary, flag, text
from oomtracer.kube.lean import Client
from oomtracer.kube.oidc import oidc_login_of
from oomtracer.kube.pem import ClientCertificate
from oomtracer.kube.token_file import token_file
from oomtracer.printable import printable

_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What connections to an API server need.

    ``configuration`` is kubernetes_asyncio's, but for the names of certificate files: their contents are in
    ``ca`` (None: the system's) and in the credentials.
    """

    configuration: Any
    ca: bytes | None
    credentials: Credentials
    held: Credential | None = None
    """What is at hand before credentials that take time to obtain; None where they take none."""


async def login_of_context(client: Client, access: Access) -> Login:
    """Resolve a kubeconfig's context. Raises UsageError, which shows no secret."""
    if any(access.user.get(key) for key in _IMPERSONATION):
        raise UsageError("kubeconfig: impersonation is not supported", hint="Choose a context without `as`.")
    if not text(access.cluster, "server"):
        raise UsageError(
            f"kubeconfig: the cluster of {printable(access.context)} has no server", hint="Correct the file."
        )
    configuration = client.configuration()
    try:
        await client.kubeconfig()(_plain(access)).load_and_set(configuration)
    except (client.error, RuntimeError) as error:  # RuntimeError: the client looks for a home directory
        raise UsageError(
            f"kubeconfig: {printable(str(error))}", hint="Correct the file, or set HOME."
        ) from None
    held = Credential(certificate=_certificate(access.user))
    at_once = _at_once(access, held, configuration.api_key.get("BearerToken"))
    slow = None if at_once else _slow(access, held)
    return Login(
        configuration=configuration,
        ca=binary(access.cluster, "certificate-authority"),
        credentials=at_once or slow or Credentials(_always(held)),
        held=held if slow else None,
    )


def login_of_pod(client: Client, environ: Mapping[str, str], service_account: Path) -> Login:
    """Take kubelet's environment and files. Raises UsageError."""
    configuration = client.configuration()
    token, ca = service_account / "token", service_account / "ca.crt"
    loader = client.in_cluster(str(token), str(ca), try_refresh_token=False, environ=dict(environ))
    try:
        loader.load_and_set(configuration)
        content = ca.read_bytes()
    except (client.error, OSError, ValueError) as error:
        raise UsageError(
            f"the pod's service account cannot be used: {printable(str(error))}",
            hint=f"Check automountServiceAccountToken and {printable(str(service_account))}.",
        ) from None
    return Login(configuration=configuration, ca=content, credentials=Credentials(token_file(token)))


def _plain(access: Access) -> dict[str, Any]:
    """A kubeconfig with this context alone, and only what needs no file and no command."""
    cluster: dict[str, Any] = {
        key: text(access.cluster, key) for key in ("server", "tls-server-name", "proxy-url")
    }
    cluster["insecure-skip-tls-verify"] = flag(access.cluster, "insecure-skip-tls-verify")
    user = {key: text(access.user, key) for key in ("token", "username", "password")}
    return {
        "current-context": "context",
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "clusters": [{"name": "cluster", "cluster": {key: value for key, value in cluster.items() if value}}],
        "users": [{"name": "user", "user": {key: value for key, value in user.items() if value}}],
    }


def _at_once(access: Access, held: Credential, authorization: str | None) -> Credentials | None:
    """The user's, by the first of kubectl's ways that there is; a client certificate goes with each."""
    user = access.user
    if path := text(user, "tokenFile"):
        return Credentials(token_file(Path(path), held))
    if token := text(user, "token"):
        return Credentials(_always(replace(held, authorization=bearer(token, "the kubeconfig's token"))))
    if authorization is not None:
        return Credentials(_always(replace(held, authorization=authorization)))
    return None


def _slow(access: Access, held: Credential) -> Credentials | None:
    """The user's, by the ways in which somebody else must be asked, who may take their time."""
    user = access.user
    if user.get("auth-provider"):
        return Credentials(_beside(held, oidc_login_of(access).obtain), pause_s=AGAIN_S)
    if user.get("exec"):
        plugin = plugin_of(access)
        check_installed(plugin)
        return Credentials(_beside(held, lambda: credential_of(plugin)), pause_s=AGAIN_S)
    return None


def _certificate(user: Mapping[str, Any]) -> ClientCertificate | None:
    chain, key = binary(user, "client-certificate"), binary(user, "client-key")
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise UsageError("kubeconfig: of client-certificate and client-key, one is missing", hint="Add it.")
    return ClientCertificate(chain=chain, key=key)


def _always(credential: Credential) -> Callable[[], Awaitable[Credential]]:
    async def obtain() -> Credential:
        return credential

    return obtain


def _beside(
    held: Credential, obtain_token: Callable[[], Awaitable[Credential]]
) -> Callable[[], Awaitable[Credential]]:
    async def obtain() -> Credential:
        obtained = await obtain_token()
        return replace(obtained, certificate=obtained.certificate or held.certificate)

    return obtain

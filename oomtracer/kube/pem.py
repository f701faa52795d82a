"""Certificates and keys for the TLS library, which reads them from files only."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from oomtracer.errors import UsageError

_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A client's certificate chain and its key, in PEM."""

    chain: bytes
    key: bytes = field(repr=False)


class TlsFiles(Protocol):
    """Where kubernetes_asyncio's Configuration wants the names of files."""

    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None


@contextmanager
def pem_files(
    configuration: TlsFiles, ca: bytes | None, certificate: ClientCertificate | None
) -> Iterator[None]:
    """Give the configuration files with these contents, for as long as the context lasts.

    They are in memory, not on a disk: whatever ends this process, no key is left behind.
    Raises UsageError: they are no certificates, or certificate and key don't belong together.
    """
    with ExitStack() as files:
        if ca is not None:
            configuration.ssl_ca_cert = files.enter_context(_memory_file(ca))
            _check_ca(configuration.ssl_ca_cert)
        if certificate is not None:
            configuration.cert_file = files.enter_context(_memory_file(certificate.chain))
            configuration.key_file = files.enter_context(_memory_file(certificate.key))
            _check_pair(configuration.cert_file, configuration.key_file, certificate.key)
        yield


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    with os.fdopen(os.memfd_create("pem", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _check_ca(file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise UsageError(
            f"the cluster's CA certificate cannot be read: {tls_reason(error)}",
            hint="Give certificates in PEM, as in the file that the cluster's installer wrote.",
        ) from None


def _check_pair(chain_file: str, key_file: str, key: bytes) -> None:
    if any(mark in key for mark in _ENCRYPTED):  # the TLS library would ask the terminal for a password
        raise UsageError("the client key is encrypted", hint="Give a key without a password.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(chain_file, key_file)
    except ssl.SSLError as error:
        raise UsageError(
            f"the client certificate and its key cannot be used: {tls_reason(error)}",
            hint="Give both in PEM; the key must be the certificate's.",
        ) from None


def tls_reason(error: ssl.SSLError) -> str:
    """What the TLS library says, in words: ``key values mismatch``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return (error.reason or "bad data").lower().replace("_", " ")

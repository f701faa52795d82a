"""Certificates made for a test run by the openssl command: two CAs, a server, clients."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM."""

    chain: Path
    key: Path


class Authority:
    """A CA in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._own = Pair(folder / "ca.crt", folder / "ca.key")
        _openssl("req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={folder.name}", *_files(self._own))

    @property
    def certificate(self) -> Path:
        """What those who trust this CA are given."""
        return self._own.chain

    def issue(self, name: str, *, alternative: str = "DNS:unused") -> Pair:
        """Sign a certificate; ``alternative`` is openssl's subjectAltName, such as ``IP:127.0.0.1``."""
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        signer = ("-CA", str(self._own.chain), "-CAkey", str(self._own.key))
        names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}")
        _openssl("req", "-x509", *KEY, "-days", "2", *signer, *names, *_files(pair))
        return pair

    def server_context(self, pair: Pair, *, wants_client: bool = False) -> ssl.SSLContext:
        """TLS as a server, asking for a client certificate of this CA or not."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.chain, pair.key)
        if wants_client:
            context.load_verify_locations(self._own.chain)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _files(pair: Pair) -> tuple[str, ...]:
    return ("-keyout", str(pair.key), "-out", str(pair.chain))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)

"""What a client needs to find the server: a kubeconfig, the files of a pod, a CA of our own."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

SUBJECT = ("-subj", "/CN=fake-kube-apiserver", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@functools.cache
def certificate() -> tuple[Path, Path]:
    """A self-signed certificate and its key, made once per process. The certificate is its own CA."""
    folder = Path(tempfile.mkdtemp(prefix="fake-kube-apiserver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made, key = folder / "ca.crt", folder / "tls.key"
    command = (
        "openssl",
        "req",
        "-x509",
        *KEY,
        "-days",
        "2",
        *SUBJECT,
        "-keyout",
        str(key),
        "-out",
        str(made),
    )
    subprocess.run(command, check=True, capture_output=True)
    return made, key


def server_context() -> ssl.SSLContext:
    """TLS with that certificate."""
    made, key = certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context


def write_kubeconfig(path: Path, *, url: str, ca_file: Path | None, token: str) -> Path:
    """Write a kubeconfig (JSON is YAML) with one context, ``fake``."""
    cluster = {"server": url} | ({"certificate-authority": str(ca_file)} if ca_file else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": cluster}],
        "users": [{"name": "agent", "user": {"token": token}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "agent"}}],
    }
    path.write_text(json.dumps(config, indent=2))
    return path


def write_service_account(folder: Path, *, token: str, ca_file: Path, namespace: str) -> Path:
    """Write the files that a pod finds under ``/var/run/secrets/kubernetes.io/serviceaccount``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(ca_file.read_bytes())
    (folder / "namespace").write_text(namespace)
    return folder

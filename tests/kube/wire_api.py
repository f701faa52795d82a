"""The agent's own connection to the fake API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from oomtracer.config import Cluster
from oomtracer.kube.api import Api
from oomtracer.kube.connection import connect

from .apiserver import FakeApiServer


@asynccontextmanager
async def wire(server: FakeApiServer, *, token: str | None = None) -> AsyncIterator[Api]:
    """Connect with a kubeconfig, as the agent's account or with another token."""
    with TemporaryDirectory() as folder:
        config = server.write_kubeconfig(Path(folder) / "config", token=token)
        api = await connect(Cluster(kubeconfig=str(config)))
        try:
            yield api
        finally:
            await api.close()

"""Imports: everything the server needs is there before the first request."""

from __future__ import annotations

import subprocess
import sys

_SERVE = """
import asyncio, socket, sys
from oomtracer.server import HttpServer, Response, parse_bind_address, probe

async def main():
    routes = {"/healthz": probe(str), "/metrics": lambda headers: Response(headers["host"].encode())}
    async with HttpServer(parse_bind_address("127.0.0.1:0"), routes) as server:
        loop = asyncio.get_running_loop()
        for request in (b"GET /healthz HTTP/1.1", b"HEAD /metrics HTTP/1.1", b"PUT / HTTP/1.1", b"junk"):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", server.addresses[0].port))
                await loop.sock_sendall(client, request + b"\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
                while await loop.sock_recv(client, 1 << 16):
                    pass

before = set(sys.modules)
asyncio.run(main())
print(*sorted(set(sys.modules) - before))
print(*sorted({"encodings.idna", "email", "prometheus_client"} & set(sys.modules)))
"""


def test_nothing_is_imported_while_serving() -> None:
    """Starting, serving and stopping import no module, and big unneeded ones are never imported."""
    done = subprocess.run(
        [sys.executable, "-c", _SERVE], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "\n\n"

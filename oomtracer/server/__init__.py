"""A small HTTP/1.1 server for metrics and probes, on the running event loop and without threads.

    address     text -> where to listen -> listening sockets
    routes      path -> handler -> response; no sockets
    connection  one client: its bytes, its phase, its deadline
    http_server accepts clients, keeps the limits they share, starts and stops

Sockets are driven by ``add_reader`` and ``add_writer``, not by asyncio transports: a connection then costs
little memory and no task, and running out of descriptors is ours to handle.
"""

from __future__ import annotations

from oomtracer.server.address import BindAddress, parse_bind_address
from oomtracer.server.connection import Limits
from oomtracer.server.http_server import HttpServer
from oomtracer.server.routes import Handler, Headers, Response, Routes, probe

__all__ = [
    "BindAddress",
    "Handler",
    "Headers",
    "HttpServer",
    "Limits",
    "Response",
    "Routes",
    "parse_bind_address",
    "probe",
]

"""Where to listen: the text of ``--metrics-bind-address``, and the sockets it stands for."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass

from oomtracer.errors import OomTracerError, UsageError

_FLAG = "--metrics-bind-address"
_SHAPE = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[A-Za-z0-9._-]*)):(?P<port>[0-9]+)")
_BACKLOG = 128
_PORT_MAX = 65535

# The kernel doubles it. Much less, and a big response over loopback (64 KiB segments) waits for delayed ACKs.
_SOCKET_BUFFER_BYTES = 64 * 1024

# An address of a family that this machine does not have: not an error while another one can be bound.
_ABSENT = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL})
_HINTS = {
    errno.EADDRINUSE: f"stop the other listener, or choose another port with {_FLAG}",
    errno.EACCES: f"choose a port from 1024 up with {_FLAG}; lower ones need CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: f"give {_FLAG} an address of this machine, or only a port such as :8080",
    errno.EAFNOSUPPORT: f"this machine lacks that kind of address; give {_FLAG} only a port such as :8080",
}


@dataclass(frozen=True, slots=True)
class BindAddress:
    """A host and a TCP port.

    ``host`` is None for all addresses of the machine, IPv4 and IPv6; port 0 lets the kernel choose one.
    """

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def parse_bind_address(text: str) -> BindAddress:
    """Read ``:8080``, ``127.0.0.1:8080``, ``[::1]:8080`` or ``localhost:8080``.

    Raises UsageError for anything else; names are not resolved here.
    """
    shape = _SHAPE.fullmatch(text)
    fault = _shape_fault(text) if shape is None else _value_fault(**shape.groupdict())
    if shape is None or fault:
        raise UsageError(
            f"{_FLAG}: {text[:100]!a} {fault}",
            hint=f"write {_FLAG}=:8080, 127.0.0.1:8080 or [::1]:8080",
        )
    return BindAddress(shape["ipv6"] or shape["name"] or None, int(shape["port"]))


def _shape_fault(text: str) -> str:
    if text.count(":") > 1 and "[" not in text and "/" not in text:
        return "needs brackets around its IPv6 address"
    if re.search(r":[0-9]+\Z", text) is None:
        return "has no port behind a colon, or one that is not a number"
    return "is not a host and a port"


def _value_fault(ipv6: str | None, name: str | None, port: str) -> str:
    if len(port) > len(str(_PORT_MAX)) or int(port) > _PORT_MAX:
        return f"has a port above {_PORT_MAX}"
    if ipv6 is not None and not _is_address(socket.AF_INET6, ipv6.partition("%")[0]):
        return "has no IPv6 address between its brackets"
    # Resolvers read a name that ends in a number as a (possibly shortened) IPv4 address.
    if name and name.rpartition(".")[2].isdecimal() and not _is_address(socket.AF_INET, name):
        return "is neither an IPv4 address nor a host name"
    return ""


def _is_address(family: socket.AddressFamily, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def open_listeners(address: BindAddress) -> list[socket.socket]:
    """Listen on every address that ``address`` stands for, without blocking mode.

    A host name is resolved here, which may block: call it at start only. With port 0, each address of a name
    gets a port of its own.

    Raises UsageError if the address cannot be listened on, OomTracerError if the system is out of something.
    """
    if address.host is None:
        return [_listen_everywhere(address)]
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    for family, socket_address in _resolve(address, address.host):
        try:
            listeners.append(_listen(family, socket_address))
        except OSError as error:
            absent = error
            if error.errno not in _ABSENT:
                _close_all(listeners)
                raise _cannot_listen(address, error) from error
    if not listeners and absent is not None:
        raise _cannot_listen(address, absent) from absent
    return listeners


def _listen_everywhere(address: BindAddress) -> socket.socket:
    try:
        try:
            return _listen(socket.AF_INET6, ("::", address.port))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return _listen(socket.AF_INET, ("0.0.0.0", address.port))  # noqa: S104  an empty host asks for it
    except OSError as error:
        raise _cannot_listen(address, error) from error


def _resolve(address: BindAddress, host: str) -> list[tuple[int, tuple[object, ...]]]:
    try:
        # As bytes: for text, CPython loads its IDNA tables, a megabyte that ASCII names do not need.
        found = socket.getaddrinfo(host.encode("ascii"), address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not an ASCII name"
        raise UsageError(
            f"cannot listen on {address}: the host name does not resolve ({reason})",
            hint=f"give {_FLAG} an address of this machine, or only a port such as :8080",
        ) from error
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def _listen(family: int, socket_address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.settimeout(0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        _tune(listener)
        listener.bind(socket_address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _tune(listener: socket.socket) -> None:
    """Set what accepted sockets inherit.

    Fixed buffers keep a client that does not read from growing the kernel's send buffer, which is charged to
    our cgroup, to megabytes.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)


def _close_all(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def _cannot_listen(address: BindAddress, error: OSError) -> OomTracerError:
    number = error.errno or 0
    reason = os.strerror(number)
    name = errno.errorcode.get(number, str(number))
    message = f"cannot listen on {address}: {reason[:1].lower()}{reason[1:]} ({name})"
    if number in _HINTS:
        return UsageError(message, hint=_HINTS[number])
    return OomTracerError(message)

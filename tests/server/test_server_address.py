"""Addresses: which texts are one, and what is listened on for each."""

from __future__ import annotations

import errno
import os
import socket
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.errors import OomTracerError, UsageError
from oomtracer.server import BindAddress, parse_bind_address
from oomtracer.server.address import open_listeners

from . import harness


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6; run on one that has ::1")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", None, 8080),
        (":0", None, 0),
        (":65535", None, 65535),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("[::1]:8080", "::1", 8080),
        ("[::]:8080", "::", 8080),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("localhost:9090", "localhost", 9090),
        ("node-1.example.com:1", "node-1.example.com", 1),
    ],
)
def test_go_style_addresses_are_read(text: str, host: str | None, port: int) -> None:
    """A Go-style address is read as host and port, and written back as it was."""
    assert parse_bind_address(text) == BindAddress(host, port)
    assert str(parse_bind_address(text)) == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "port"),
        ("8080", "port"),
        (":", "port"),
        ("localhost", "port"),
        ("localhost:", "port"),
        ("localhost:http", "port"),
        (":-1", "port"),
        (":65536", "above 65535"),
        (":" + "9" * 5000, "above 65535"),
        (":٨٠", "port"),
        ("::1:8080", "brackets"),
        ("::", "brackets"),
        ("[::1]", "port"),
        ("[::1", "port"),
        ("[]:80", "not a host"),
        ("[127.0.0.1]:80", "no IPv6 address"),
        ("[::1\0]:80", "no IPv6 address"),
        ("[nonsense]:80", "no IPv6 address"),
        ("256.0.0.1:80", "neither"),
        ("127.1:80", "neither"),
        (" :8080", "not a host"),
        (":8080 ", "port"),
        (":8080\n", "port"),
        ("*:8080", "not a host"),
        ("http://localhost:8080", "not a host"),
        ("büro:80", "not a host"),
    ],
)
def test_anything_else_is_a_usage_error(text: str, fault: str) -> None:
    """What is not an address is a usage error that says what is wrong and names the flag."""
    with pytest.raises(UsageError) as caught:
        parse_bind_address(text)
    assert fault in caught.value.message
    assert "--metrics-bind-address" in caught.value.message
    assert "--metrics-bind-address" in caught.value.hint
    assert caught.value.message.isprintable()


@given(st.text())
def test_every_text_is_an_address_or_a_usage_error(text: str) -> None:
    """Parsing is total, and what it accepts survives a round trip."""
    try:
        address = parse_bind_address(text)
    except UsageError:
        return
    assert parse_bind_address(str(address)) == address


@given(st.ip_addresses(), st.integers(min_value=0, max_value=65535))
def test_every_ip_address_is_read(ip: object, port: int) -> None:
    """Every IPv4 and (bracketed) IPv6 address is accepted with every port."""
    assert parse_bind_address(str(BindAddress(str(ip), port))) == BindAddress(str(ip), port)


@needs_ipv6
def test_an_empty_host_listens_on_ipv4_and_ipv6_with_one_socket() -> None:
    """``:0`` is one dual-stack socket, reached by both protocols."""

    async def scenario() -> None:
        async with harness.server(address=":0") as server:
            assert [address.host for address in server.addresses] == ["::"]
            for host in ("127.0.0.1", "::1"):
                async with harness.client(server, host) as (reader, writer):
                    writer.write(harness.HEALTH)
                    assert (await harness.reply(reader)).status == 200

    harness.run(scenario())


@pytest.mark.parametrize("missing", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_an_empty_host_works_without_ipv6(monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    """Where the kernel has no IPv6, ``:0`` listens on IPv4 alone."""
    with monkeypatch.context() as patch:
        _without_ipv6(patch, missing)
        (listener,) = open_listeners(parse_bind_address(":0"))
    with listener:
        assert listener.family == socket.AF_INET
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


def test_a_name_is_listened_on_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name's addresses, those of a family that this machine lacks are left out."""
    found = [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        _without_ipv6(patch, errno.EAFNOSUPPORT)
        (listener,) = open_listeners(parse_bind_address("two-families:0"))
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_name_of_no_family_here_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address none of whose families exists here is refused by name and errno."""
    _without_ipv6(monkeypatch, errno.EAFNOSUPPORT)
    with pytest.raises(UsageError, match=r"cannot listen on \[::1\]:0: .*\(EAFNOSUPPORT\)"):
        open_listeners(parse_bind_address("[::1]:0"))


def _without_ipv6(patch: pytest.MonkeyPatch, number: int) -> None:
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return real(family, kind)

    patch.setattr(socket, "socket", without_ipv6)


def test_localhost_is_listened_on_at_each_of_its_addresses() -> None:
    """A host name binds every address that it resolves to."""
    expected = {where[0] for _, _, _, _, where in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    listeners = open_listeners(parse_bind_address("localhost:0"))
    try:
        bound = {listener.getsockname()[0] for listener in listeners}
        assert bound
        assert bound <= expected
        assert bound == expected or not _has_ipv6()
    finally:
        for listener in listeners:
            listener.close()


def test_a_port_in_use_is_a_usage_error() -> None:
    """A port that another socket listens on is refused with address, reason and remedy."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for text in (f"127.0.0.1:{port}", f":{port}"):
            with pytest.raises(UsageError) as caught:
                open_listeners(parse_bind_address(text))
            assert caught.value.message == f"cannot listen on {text}: address already in use (EADDRINUSE)"
            assert "--metrics-bind-address" in caught.value.hint


def test_a_foreign_address_is_a_usage_error() -> None:
    """An address of another machine cannot be listened on."""
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:0: .*\(EADDRNOTAVAIL\)"):
        open_listeners(parse_bind_address("192.0.2.1:0"))


@pytest.mark.parametrize("name", ["nowhere.invalid", "x" * 300, "a..b"])
def test_an_unresolvable_name_is_a_usage_error(name: str) -> None:
    """A host name that does not resolve is refused as such."""
    with pytest.raises(UsageError, match="does not resolve") as caught:
        open_listeners(parse_bind_address(f"{name}:80"))
    assert "--metrics-bind-address" in caught.value.hint


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [(errno.EACCES, UsageError, "CAP_NET_BIND_SERVICE"), (errno.ENOBUFS, OomTracerError, "")],
)
def test_other_refusals_say_why(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[OomTracerError], hint: str
) -> None:
    """A forbidden port is a usage error, a lack of kernel memory is not; both name their errno."""

    def refuse(_self: socket.socket, _address: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)
    with pytest.raises(OomTracerError, match=errno.errorcode[number]) as caught:
        open_listeners(parse_bind_address(":80"))
    assert type(caught.value) is kind
    assert hint in caught.value.hint


def test_a_restart_listens_on_the_same_port_at_once() -> None:
    """The port is free again although a connection of the previous server lingers in the kernel."""

    async def scenario() -> None:
        async with harness.server() as first:
            (address,) = first.addresses
            assert (await harness.ask(first, harness.HEALTH)).status == 200
        assert first.addresses == ()
        async with harness.server(address=str(address)) as second:
            assert second.addresses == (address,)
            assert await harness.healthy(second)

    harness.run(scenario())

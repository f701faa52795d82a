"""Unit names as metric labels and for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.cgroups import unit_label, workload_of
from oomtracer.events import Workload, WorkloadKind

HASH = "ee4b20e90ac7f42a10bd004d05646b13d8ab5e2c5e7cbc01abf8006bac016459"
UUID = "5fe1f6e6-3fd1-8ec5-1d0f-0b7a8d2a6b0e"
NAME = st.text("0123456789abcdefghijklmnopqrstuvwxyzABCXYZ:_.\\@-", min_size=1, max_size=60)


def label(unit: str) -> str | None:
    """Tell the label of a process in a unit."""
    return unit_label(Workload(kind=WorkloadKind.UNIT, unit=unit))


@pytest.mark.parametrize(
    "unit",
    [
        "nginx.service",
        "postgresql@15-main.service",
        "redis@16379.service",
        "ceph-osd@12.service",
        "getty@tty1.service",
        "openvpn-client@office.service",
        "snap.lxd.daemon.service",
        "lxd.socket",
        "init.scope",
        "system.slice",
        "system-postgresql.slice",
        r"system-systemd\x2dcoredump.slice",
        "user.slice",
        "user-db.service",
    ],
)
def test_kept(unit: str) -> None:
    """A name that a person gave is its own label."""
    assert label(unit) == unit


@pytest.mark.parametrize(
    ("unit", "folded"),
    [
        ("session-3.scope", "session-*.scope"),
        ("session-c12.scope", "session-*.scope"),
        ("run-u42.service", "run-*.service"),
        ("run-p811-i77.scope", "run-*.scope"),
        (f"docker-{HASH}.scope", "docker-*.scope"),
        (f"libpod-conmon-{HASH}.scope", "libpod-conmon-*.scope"),
        (f"libpod-{HASH}.scope", "libpod-*.scope"),
        (f"cri-containerd-{HASH}.scope", "cri-containerd-*.scope"),
        (r"machine-qemu\x2d1\x2dweb.scope", "machine-*.scope"),
        (f"{UUID}.redis.scope", "*.scope"),
        ("anything-a-program-likes.scope", "*.scope"),
        (r"srv-data\x2d1.mount", "*.mount"),
        (f"var-lib-kubelet-pods-{UUID}-volumes-name.mount", "*.mount"),
        ("user@1000.service", "user@*.service"),
        ("user-runtime-dir@1000.service", "user-runtime-dir@*.service"),
        ("user-1000.slice", "user-*.slice"),
        ("sshd@5-10.0.0.1:22-10.0.0.2:51234.service", "sshd@*.service"),
        ("sshd@5-77-10.0.0.1:22-10.0.0.2:51234.service", "sshd@*.service"),
        ("sshd@5-10.0.0.1-22-10.0.0.2-51234.service", "sshd@*.service"),
        ("sshd@0-fe80::1:22-fe80::2:51234.service", "sshd@*.service"),
        ("sshd-vsock@1-9-3:22-2:7.service", "sshd-vsock@*.service"),
        ("systemd-coredump@3-4242-0.service", "systemd-coredump@*.service"),
        ("systemd-coredump@3-9-4242_1187-0.service", "systemd-coredump@*.service"),
        ("cockpit-session@2-unknown.service", "cockpit-session@*.service"),
        ("cockpit-session@2-9-unknown.service", "cockpit-session@*.service"),
        (f"cockpit-wsinstance-https@{HASH}.service", "cockpit-wsinstance-https@*.service"),
        (f"{HASH}-3e5dc9fb4d8a1c02.service", "*.service"),
        (f"systemd-fsck@dev-disk-by\\x2duuid-{UUID}.service", r"systemd-fsck@dev-disk-by\x2duuid-*.service"),
        (
            r"systemd-fsck@dev-disk-by\x2duuid-" + UUID.replace("-", r"\x2d") + ".service",
            r"systemd-fsck@dev-disk-by\x2duuid-*.service",
        ),
        ("dbus-:1.10-org.freedesktop.problems@0.service", "dbus-*.service"),
        ("backup-20260131T120000.service", "backup-*.service"),
        (f"machine-libpod_pod_{HASH}.slice", "machine-libpod_pod_*.slice"),
        ("x" * 127 + "…", "*"),
    ],
)
def test_folded(unit: str, folded: str) -> None:
    """What a program, a login or a connection made up is cut to ``*``."""
    assert label(unit) == folded


def test_a_cut_name_is_a_units_only_with_the_characters_of_one() -> None:
    """What could steer a terminal is in no unit's name, whole or cut."""
    assert workload_of("/system.slice/shop-0123…").unit == "shop-0123…"
    assert workload_of("/system.slice/\x1b[2J…").unit == "system.slice"


@pytest.mark.parametrize(
    "cgroup",
    [
        "/",
        f"/docker/{HASH}",
        f"/kubepods.slice/kubepods-pod{UUID.replace('-', '_')}.slice/crio-{HASH}.scope",
        f"/system.slice/k3s.service/kubepods/pod{UUID}/{HASH}",
    ],
)
def test_no_label(cgroup: str) -> None:
    """The host, a container outside systemd and every pod have no unit label."""
    assert unit_label(workload_of(cgroup)) is None


def test_container_label() -> None:
    """A container's kill counts for the unit its host manages: the scope, or the Quadlet's service."""
    scope = workload_of(f"/system.slice/docker-{HASH}.scope")
    quadlet = workload_of(f"/system.slice/app.service/libpod-payload-{HASH}")
    assert unit_label(scope) == "docker-*.scope"
    assert unit_label(quadlet) == "app.service"


@given(st.sampled_from(["scope", "mount", "swap"]), NAME, NAME)
def test_transient_types_are_bounded(suffix: str, first: str, second: str) -> None:
    """Scopes and mounts, however they are named, share a handful of labels."""
    labels = {label(f"{name}.{suffix}") for name in (first, second)}
    assert all(found == "init.scope" or (found and "*" in found) for found in labels)


@given(NAME, st.sampled_from(["service", "slice", "socket", "scope", "mount"]))
def test_folding_twice_changes_nothing(name: str, suffix: str) -> None:
    """A label is a fixed point: what has been folded needs no more folding."""
    once = label(f"{name}.{suffix}")
    assert once is not None
    assert label(once) == once


@given(st.integers(0, 2**32), st.integers(1, 2**22), st.integers(0, 2**32))
def test_a_connection_never_makes_a_label(counter: int, pid: int, uid: int) -> None:
    """Who opens many connections adds no series."""
    assert label(f"cups@{counter}-{pid}-{uid}.service") == "cups@*.service"
    assert label(f"user@{uid}.service") == "user@*.service"

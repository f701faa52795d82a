"""Cgroup paths, alone or with the cgroup v2 path behind a NUL: ``oomtracer.cgroups``."""

from __future__ import annotations

import tomllib
import uuid
from pathlib import Path
from random import Random

from oomtracer.cgroups import is_selftest, limit_owner, unit_label, workload_of
from oomtracer.events import CUT, LimitOwner, Workload, WorkloadKind

from .mutate import mutated, noise

_REAL = tuple(
    row["path"]
    for row in tomllib.loads(
        (Path(__file__).parents[1] / "cgroups" / "paths.toml").read_text(encoding="utf-8")
    )["path"]
)
_NAMES = tuple(sorted({name for path in _REAL for name in path.split("/")}))
_TEXTS = (
    *("/", "..", ".", "//", ":", "-", "_", "@", CUT, "\\x2d", "\n", "\x1b[2J", "\u202e", "\0"),
    *[
        "pod",
        "kubepods",
        "kubepods.slice",
        "besteffort",
        "docker",
        "cri-containerd-",
        "crio-",
        "libpod-",
        "lxc",
        "lxc.payload.",
    ],
    *[".slice", ".scope", ".service", "user@0.service", "oomtracer-selftest-1", "run-", "user-1"],
    *_NAMES,
)
_TOKENS = (*[text.encode() for text in _TEXTS], b"\xff", b"\xf0\x9f")
_HEX = "0123456789abcdef"
_CONTAINERS = ("cri-containerd", "crio", "docker", "libpod")


def generate(random: Random) -> bytes:
    """Make a real path, one put together of real names, one with changes, or noise; or two of them."""
    first = _path(random)
    if random.random() < 0.7:
        return first
    return first + b"\0" + (first if random.random() < 0.3 else b"") + _path(random)


def check(data: bytes) -> None:
    """An answer to any path, one that no terminal minds, and none that a pod's container could have forged."""
    cgroup, nul, unified = data.decode(errors="replace").partition("\0")
    workload = workload_of(cgroup, unified if nul else None)
    assert workload == workload_of(cgroup, unified if nul else None)
    _check_workload(workload)
    owner = limit_owner(cgroup)
    assert isinstance(owner, LimitOwner)
    assert workload_of(f"//./{cgroup}/..//") == workload_of(cgroup)
    if is_selftest(cgroup):
        assert cgroup.startswith("/oomtracer-selftest-")
    _check_forgery(Random(len(data)), cgroup, unified)


def _check_workload(workload: Workload) -> None:
    kind = workload.kind
    assert workload.resolved == (kind is not WorkloadKind.POD)
    assert workload.pod_uid is None or kind is WorkloadKind.POD
    assert (workload.static is None) == (workload.pod_uid is None)
    assert workload.container_id is not None or kind is not WorkloadKind.CONTAINER
    assert workload.unit is not None or kind is not WorkloadKind.UNIT
    assert (workload.namespace, workload.pod, workload.owner) == (None, None, None)
    for text in (workload.pod_uid, workload.container_id, workload.unit, workload.slice):
        plain = (text or "").removesuffix(CUT)
        assert plain.isprintable()
        assert "/" not in plain
    label = unit_label(workload)
    assert label is None or (
        label.isascii() and label.isprintable() and len(label) <= len(workload.unit or "") + 2
    )
    assert label is None or kind in (WorkloadKind.CONTAINER, WorkloadKind.UNIT)


def _check_forgery(random: Random, *nested: str) -> None:
    """What is made inside a pod's container, or by a user, stays theirs, whatever its name."""
    uid, container = str(uuid.UUID(int=random.getrandbits(128))), "".join(random.choices(_HEX, k=64))
    pod = f"/kubepods/burstable/pod{uid}"
    for inner in filter(None, nested):
        inside = workload_of(f"{pod}/{container}/{inner}")
        assert (inside.pod_uid, inside.container_id) == (uid, container)
        assert workload_of(f"{pod}/{inner}").pod_uid == uid
        assert limit_owner(f"{pod}/{container}/{inner}") is LimitOwner.CONTAINER
        users = workload_of(f"/user.slice/user-7.slice/user@7.service/{inner}")
        assert users.kind in (WorkloadKind.UNIT, WorkloadKind.CONTAINER)
        assert (users.unit, users.slice) == ("user@7.service", "user-7.slice")


def _path(random: Random) -> bytes:
    chance = random.random()
    if chance < 0.05:
        return noise(random, 4096)
    if chance < 0.2:
        return random.choice(_REAL).encode()
    made = random.choice(_REAL) if chance < 0.6 else _made(random)
    return mutated(random, made.encode(), _TOKENS) if chance < 0.85 else made.encode()


def _made(random: Random) -> str:
    names = [_name(random) for _ in range(random.choice((1, 2, 3, 4, 6, 16)))]
    return "/" + "/".join(names)


def _name(random: Random) -> str:
    chance = random.random()
    if chance < 0.6:
        return random.choice(_NAMES)
    digits = "".join(random.choices(_HEX, k=random.choice((64, 64, 32, 12, 63))))
    if chance < 0.8:
        return f"{random.choice(_CONTAINERS)}-{digits}{random.choice(('.scope', '', CUT))}"
    uid = str(uuid.UUID(int=random.getrandbits(128)))
    slice_ = f"{random.choice(('', 'a-'))}kubepods-pod{uid.replace('-', '_')}.slice"
    return random.choice((digits, f"pod{uid}", slice_, f"{slice_}:cri-containerd:{digits}", f"pod{digits}"))

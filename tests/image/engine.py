"""Podman with a store of its own below `.cache`, so that layers are kept and nobody's images are touched."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / ".cache/images"
# What is gone after a boot; the store remembers its place.
RUN = Path("/run") / f"oomtracer-images-{hashlib.sha256(bytes(STORE)).hexdigest()[:12]}"
SUITE = "bookworm"
BASE = "localhost/oomtracer-base"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")
ARCHITECTURES = ("amd64", "arm64")

PODMAN = ["podman", "--root", STORE, "--runroot", RUN, "--log-level", "error", "--cgroup-manager", "cgroupfs"]
MANIFEST = yaml.safe_load((ROOT / "deploy/base/daemonset.yaml").read_text())["spec"]["template"]["spec"]


def like_the_manifest() -> list[str]:
    """Return the options for a container like the DaemonSet's."""
    asked = MANIFEST["containers"][0]["securityContext"]
    assert asked["readOnlyRootFilesystem"]
    assert not asked["allowPrivilegeEscalation"]
    user = "{runAsUser}:{runAsGroup}".format_map(MANIFEST["securityContext"])
    capabilities = [f"--cap-drop={name}" for name in asked["capabilities"]["drop"]]
    capabilities += [f"--cap-add={name}" for name in asked["capabilities"]["add"]]
    # Podman's own limits are more than a machine may allow.
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"]
    rest = ["--read-only", "--security-opt=no-new-privileges", "--network=none", f"--user={user}"]
    return [*rest, *capabilities, *limits]


def podman(*arguments: str | Path, deadline_seconds: float = 900) -> str:
    """Run a command of Podman and return what it wrote."""
    done = subprocess.run(
        [*PODMAN, *arguments], capture_output=True, text=True, check=False, timeout=deadline_seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def image_exists(name: str) -> bool:
    """Tell whether the store has an image."""
    return subprocess.run([*PODMAN, "image", "exists", name], check=False).returncode == 0


def make_base() -> None:
    """Make the smallest Debian an image, from the mirror that this machine uses, and trusting whom it trusts."""
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([ROOT / "release/private-apt", work, SUITE], check=True, capture_output=True)
        archive, sources = Path(work, "base.tar"), Path(work, "sources.list")
        trust = f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", trust]
        subprocess.run([*command, SUITE, archive, sources], check=True)
        podman("import", "--quiet", archive, BASE)


def build(arch: str) -> str:
    """Build the image of the Dockerfile for one architecture, with what the machine has; return its name."""
    if not image_exists(BASE):
        make_base()
    name = f"localhost/oomtracer:{arch}"
    machine = podman("info", "--format", "{{.Host.Arch}}").strip()
    # Podman 4.3 does not know this variable of Docker's by itself.
    variables = ["--build-arg", f"BASE={BASE}", "--build-arg", f"BUILDPLATFORM=linux/{machine}"]
    options = ["--pull-never", "--isolation", "chroot", "--platform", f"linux/{arch}"]
    podman("build", *options, *variables, "--tag", name, ROOT)
    podman("image", "prune", "--force", "--filter", "until=72h")  # layers of sources that have changed since
    return name


@contextmanager
def mounted(name: str) -> Iterator[Path]:
    """Mount an image; yield its root."""
    try:
        yield Path(podman("image", "mount", name).strip())
    finally:
        podman("image", "unmount", name)


def seccomp_profile(path: Path) -> Path:
    """Write the default profile as container engines have it today: CAP_BPF lets bpf(2) pass (Podman 4.3: not)."""
    profile = json.loads(DEFAULT_PROFILE.read_text())
    rules = [rule for rule in profile["syscalls"] if "bpf" not in rule["names"] or "caps" in rule["includes"]]
    rules.append({"names": ["bpf", "perf_event_open"], "action": "SCMP_ACT_ALLOW"})
    path.write_text(json.dumps({**profile, "syscalls": rules}))
    return path

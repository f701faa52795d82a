"""What runs where: tests that end a machine's memory run inside a guest, those that boot guests outside of one."""

from __future__ import annotations

import os

IN_GUEST = os.environ.get("OOMTRACER_GUEST") == "1"
_INSIDE = ["lockdown", "numa", "podman", "scenarios", "systemd"]
_OUTSIDE = ["test_guests.py", "test_judge.py", "test_support.py"]

collect_ignore = _OUTSIDE if IN_GUEST else _INSIDE

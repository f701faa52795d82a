"""The fixtures of tests/kernel, for tests that take a whole machine down and so run in a guest alone."""

from __future__ import annotations

from tests.kernel.conftest import grow, kernel_log, make_cgroup, victim

__all__ = ["grow", "kernel_log", "make_cgroup", "victim"]

"""What the commands load: memory that a host without the feature need not carry."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROBE = """
import sys
from oomtracer import cli
from oomtracer.errors import UnsupportedError
from oomtracer.tracer import tracer

def refuse():
    raise UnsupportedError("enough: everything that host mode needs is loaded", hint="none")

tracer.require_privileges = refuse
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    print(end.code, *sorted(sys.modules))
"""
_FOREIGN = {
    *("rich", "pygments", "kubernetes_asyncio", "aiohttp", "prometheus_client", "h11", "requests", "yaml"),
    *("pydantic", "pydantic_core", "click"),
    *("cryptography", "sqlite3", "http", "xml", "ctypes", "cffi", "setuptools", "pkg_resources"),
}


def loaded(*arguments: str) -> tuple[str, set[str]]:
    """Tell the exit code and the top-level modules after a command that could not trace."""
    named = ("OOMTRACER_", "KUBE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(named)}
    environment["HOME"] = "/nonexistent"
    command = [sys.executable, "-c", _PROBE, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    return code, {module.partition(".")[0] for module in modules} | set(modules)


def test_run_without_metrics_loads_nothing_foreign_but_its_command_line():
    """Host mode carries no HTTP server, no metrics, no cluster client and no formatting library."""
    code, modules = loaded("run")
    assert code == "3"
    assert "oomtracer.pipeline.attribute" in modules
    assert modules & _FOREIGN == set()
    assert not {
        module for module in modules if module.startswith(("oomtracer.server", "oomtracer.sinks.metrics"))
    }
    # Only the question whether there is a cluster at all is asked.
    assert {module for module in modules if module.startswith("oomtracer.kube")} == {
        "oomtracer.kube",
        "oomtracer.kube.source",
    }
    assert not {module for module in modules if module.startswith(("oomtracer.policy", "oomtracer.unmark"))}


def test_run_with_metrics_loads_the_server_before_the_first_kill():
    """What serves is there before anything is traced: nothing is imported on the kill path."""
    code, modules = loaded("run", "--metrics-bind-address=127.0.0.1:0")
    assert code == "3"
    assert {"oomtracer.server", "oomtracer.sinks.metrics", "prometheus_client", "h11"} <= modules
    assert not {"rich", "kubernetes_asyncio", "aiohttp"} & modules


@pytest.mark.parametrize("command", ["version", "--help"])
def test_small_commands_load_nothing_of_the_kernel_side(command):
    """Saying a version needs neither the extension nor the event loop."""
    _, modules = loaded(command)
    assert not {module for module in modules if module.startswith(("oomtracer.app", "oomtracer.pipeline"))}
    assert modules & _FOREIGN == set()

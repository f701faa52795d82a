"""The command line: text to one checked Config, errors to two lines and an exit code."""

from oomtracer.cli.commands import cli
from oomtracer.cli.program import main

__all__ = ["cli", "main"]

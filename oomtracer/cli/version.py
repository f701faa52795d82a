"""The version, as a command and as a flag of the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from oomtracer import __version__
from oomtracer.cli.streams import tell


def print_version() -> None:
    """Print it in one line."""
    tell(f"oomtracer {__version__}\n")


def _at_once(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        print_version()
        raise typer.Exit


VersionFlag = Annotated[
    bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_at_once)
]

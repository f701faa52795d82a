"""``python -m oomtracer`` is the same program as ``oomtracer``."""

from oomtracer.cli import main

main()

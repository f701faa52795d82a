"""``oomtracer run``: builds the parts, runs them until a signal or a failure, stops them in order."""

from oomtracer.app.agent import run

__all__ = ["run"]

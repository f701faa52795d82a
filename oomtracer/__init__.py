"""oomtracer: who was killed for want of memory, whose limit was hit, and why."""

__version__ = "0.1.0"

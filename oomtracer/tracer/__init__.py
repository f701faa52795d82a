"""The kernel side: which hooks this kernel has, loading and attaching them, draining the ring."""

from oomtracer.tracer.hooks import HOOKS, GroupChoice, Hook, choose_hooks
from oomtracer.tracer.tracer import Tracer, record_bytes

__all__ = ["HOOKS", "GroupChoice", "Hook", "Tracer", "choose_hooks", "record_bytes"]

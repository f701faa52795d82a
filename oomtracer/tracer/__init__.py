"""The kernel side: which hooks this kernel has, loading and attaching them, draining the ring."""

from oomtracer.tracer.choice import SWITCHED_OFF, Candidate, GroupChoice, choose_hooks, hook_names
from oomtracer.tracer.hooks import HOOKS, TRUTH, Hook
from oomtracer.tracer.needs import RunningKernel
from oomtracer.tracer.tracer import QUIET_AFTER_DAYS, Batch, Tracer, record_bytes

__all__ = [
    "HOOKS",
    "QUIET_AFTER_DAYS",
    "SWITCHED_OFF",
    "TRUTH",
    "Batch",
    "Candidate",
    "GroupChoice",
    "Hook",
    "RunningKernel",
    "Tracer",
    "choose_hooks",
    "hook_names",
    "record_bytes",
]

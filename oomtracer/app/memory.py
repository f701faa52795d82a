"""The agent's own memory: kept where the machine runs short of it, and small."""

from __future__ import annotations

import gc

from oomtracer.kernel.privileges import effective_capabilities, lower_oom_score, may_lock_memory
from oomtracer.libbpf import lock_memory, trim_memory

# Like the kubelet's own: before us the OOM killer has everything else to choose from.
OOM_SCORE_ADJ = -999


def protect() -> None:
    """Keep working while the machine is short of memory: best effort, `oomtracer check` shows it."""
    lower_oom_score(OOM_SCORE_ADJ)
    trim_memory()
    if may_lock_memory(effective_capabilities()):
        lock_memory()


def settle() -> None:
    """What is there now stays: the collector need not look at it again, and what the start took is given back."""
    gc.collect()
    gc.freeze()
    trim_memory()

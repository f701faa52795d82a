"""Is every kill accounted for? The kernel's own count against what the program saw and what became of it.

Pure: readings are handed in, with their times, and nothing is remembered but numbers.

1. ``reading``: what is read, and what the count was when tracing began.
2. ``audit``: which of the kernel's kills no program saw.
3. ``words``: the same as sentences.
"""

from __future__ import annotations

from oomtracer.audit.audit import NO_KERNEL_COUNT, NO_SIGNALS, SETTLED_SECONDS, Audit, Processed, Verdict
from oomtracer.audit.reading import Baseline, Counters, Reading
from oomtracer.audit.words import PROGRAM_STAGES, UNSEEN, sentence

__all__ = [
    "NO_KERNEL_COUNT",
    "NO_SIGNALS",
    "PROGRAM_STAGES",
    "SETTLED_SECONDS",
    "UNSEEN",
    "Audit",
    "Baseline",
    "Counters",
    "Processed",
    "Reading",
    "Verdict",
    "sentence",
]

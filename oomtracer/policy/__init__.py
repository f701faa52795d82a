"""May this kill mark this pod? Pure: no I/O and no clock, times are given.

Three questions, in this order; the first one that says no gives the reason:

1. ``kills``: would moving the pod have helped against this kill?
2. ``candidates``: may this pod be moved at all?
3. ``ledger``: were there enough marks lately, or one for this incident or pod already?

Only the last one remembers anything, and only what was marked: a kill or a pod that is excluded uses nothing up.
"""

from __future__ import annotations

from oomtracer.policy.candidates import PREFER_NO_EVICTION, Candidate, annotation_keys, exclusion, label_keys
from oomtracer.policy.ledger import Mark as MarkMade
from oomtracer.policy.policy import Policy
from oomtracer.policy.reason import Decision, Reason

__all__ = [
    "PREFER_NO_EVICTION",
    "Candidate",
    "Decision",
    "MarkMade",
    "Policy",
    "Reason",
    "annotation_keys",
    "exclusion",
    "label_keys",
]

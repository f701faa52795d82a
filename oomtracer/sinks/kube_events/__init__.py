"""Kubernetes Events about kills: on the pod that lost a process, and on a node that ran out of memory.

One Event tells of one run of the OOM killer (``gather``) in a few sentences (``note``, ``words``); repeated ones
count up (``series``), no object is written about too often (``bucket``), and ``sink`` sends what is due.
"""

from __future__ import annotations

from oomtracer.sinks.kube_events.ledger import WAIT_S
from oomtracer.sinks.kube_events.sink import DROP_REASONS, EventSink

__all__ = ["DROP_REASONS", "WAIT_S", "EventSink"]

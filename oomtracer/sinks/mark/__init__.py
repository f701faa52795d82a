"""Marks the pods that policy chooses: decides on each report, delivers each mark on its own, once."""

from oomtracer.sinks.mark.counts import LATENCY_BUCKETS_S, MarkCounts, Stage, all_outcomes
from oomtracer.sinks.mark.delivery import Delivery
from oomtracer.sinks.mark.sink import MarkSink

__all__ = ["LATENCY_BUCKETS_S", "Delivery", "MarkCounts", "MarkSink", "Stage", "all_outcomes"]
